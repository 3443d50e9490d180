"""A model of the transformers library in fp32, from jackdaw's configuration: `transformers_model.py bert-base|t5-small|gpt2-124M CONFIG`.

BERT and T5 run forward and take training steps (see ../jackdaw/forward-step.ts); GPT-2 reads a prompt and decodes
(see ../jackdaw/decode.ts): a loop around the model, which is faster than `generate`.
"""

import json
import sys
import time

from contestant import THREADS, compete, per_second

BATCH, SEQ, TARGET_SEQ = 4, 128, 64
PROMPT, NEW_TOKENS, LONG_PROMPT, CHATS = 16, 128, 512, 8


def load():
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    # A whole number is no float for the library, and JSON does not tell them apart.
    if "initializer_factor" in settings:
        settings["initializer_factor"] = float(settings["initializer_factor"])
    config = transformers.AutoConfig.for_model(**settings)
    model = getattr(transformers, settings["architectures"][0])(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    versions = {"PyTorch": torch.__version__, "transformers": transformers.__version__}
    if name == "gpt2-124M":
        return decoding(torch, model), versions
    return steps(torch, model, name), versions, count


def steps(torch, model, name):
    def ids(length):
        return torch.tensor([[1 + (i * 7919) % 30_000 for i in range(row * length, (row + 1) * length)] for row in range(BATCH)])

    sources = ids(SEQ)
    given = {"input_ids": sources}
    if name == "t5-small":
        given["decoder_input_ids"] = ids(TARGET_SEQ)
    labels = ids(TARGET_SEQ) if name == "t5-small" else sources
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def forward():
        model.eval()
        with torch.inference_mode():
            model(**given, **({"use_cache": False} if name == "t5-small" else {})).logits

    def step():
        model.train()
        loss = model(input_ids=sources, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    forward()
    step()
    return {
        "forward": lambda seconds: per_second(seconds, BATCH * SEQ, forward),
        "step": lambda seconds: per_second(seconds, BATCH * SEQ, step),
    }


def decoding(torch, model):
    model.eval()
    vocab = model.config.vocab_size

    def prompt(length, rows):
        return torch.tensor([[(i + 1) * 7919 % vocab for i in range(length)]] * rows)

    def read(ids):
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        return out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)

    def continued(rows):
        def run(seconds):
            spent, done = 0.0, 0
            with torch.inference_mode():
                while spent < seconds or done == 0:
                    cache, ids = read(prompt(PROMPT, rows))
                    start = time.perf_counter()
                    for _ in range(NEW_TOKENS):
                        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
                        cache, ids = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
                    spent += time.perf_counter() - start
                    done += NEW_TOKENS * rows
            return done / spent

        return run

    def prompted(seconds):
        with torch.inference_mode():
            return per_second(seconds, LONG_PROMPT, lambda: read(prompt(LONG_PROMPT, 1)))

    return {"decode": continued(1), "prompt": prompted, "chats": continued(CHATS)}


compete(load)
