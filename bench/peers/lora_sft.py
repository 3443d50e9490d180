"""A step of supervised fine-tuning with LoRA, by PEFT in a plain loop, or by TRL's SFTTrainer. `lora_sft.py peft|trl FOLDER SETTINGS`."""

import json
import resource
import sys
import tempfile

from contestant import THREADS, compete, per_second


def load():
    import peft
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    kind, folder, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    batch, seq = settings["batch"], settings["seq"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear"
    )
    # The same conversations as in ../jackdaw/lora-sft.ts.
    rows = [[(k * 31 + t * 7) % 4096 for t in range(seq)] for k in range(64)]
    answers = [[0] * (seq // 2) + [1] * (seq - seq // 2) for _ in rows]
    versions = {"PyTorch": torch.__version__, "PEFT": peft.__version__}

    if kind == "trl":
        import datasets
        import trl

        versions["TRL"] = trl.__version__
        arguments = trl.SFTConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=batch,
            max_length=seq,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            logging_steps=10**9,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        data = datasets.Dataset.from_dict({"input_ids": rows, "completion_mask": answers})
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        trainer = trl.SFTTrainer(
            model=model, args=arguments, train_dataset=data, peft_config=config, processing_class=tokenizer
        )

        model = trainer.model.train()
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1
        rows = list(trainer.train_dataset)
        turn = 0

        def step():
            nonlocal turn
            inputs = trainer.data_collator([rows[(turn + i) % len(rows)] for i in range(batch)])
            turn += batch
            optimizer.zero_grad(set_to_none=True)
            loss = trainer.training_step(model, inputs)
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            loss.item()

    else:
        model = peft.get_peft_model(model, config)
        model.train()
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)
        ids = torch.tensor(rows)
        labels = torch.where(torch.tensor(answers) == 1, ids, -100)
        turn = 0

        def step():
            nonlocal turn
            chosen = torch.arange(turn, turn + batch) % len(ids)
            turn += batch
            loss = model(input_ids=ids[chosen], labels=labels[chosen], use_cache=False).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            loss.item()

    for _ in range(2):
        step()
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    rounds = {
        "step": lambda seconds: per_second(seconds, batch * seq, step),
        "memory": lambda seconds: 16 * 2**20 / resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    return rounds, versions, count


compete(load)
