"""Write soft prompts of the peft package for tiny checkpoints of tests/parity, with what the models answer behind them.

    python soft_prompt.py             writes the folders of peft/
    python soft_prompt.py FOLDER MODEL [MODEL's tokens ...]
                                      reads a folder that was written here, and prints the logits behind it as JSON

A folder has adapter_config.json and adapter_model.safetensors, as `save_pretrained` makes them, and answers.safetensors:
input_ids, attention_mask, logits, d loss / d prompt_embeddings (labels are the ids), and greedy tokens behind the first row.
Needs torch, transformers 5 and peft 0.21.
"""

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
PARITY = HERE.parent / 'parity'
torch.set_num_threads(1)

CASES = {
    'gpt2-prompt': ('gpt2', 'prompt', 3),
    'gpt2-prefix': ('gpt2', 'prefix', 2),
    'llama-prompt': ('llama-biases-wide-heads', 'prompt', 4),
    'llama-prefix': ('llama-multi-query-tied', 'prefix', 5),
    'llama-prefix-projected': ('llama', 'projected', 3),
}


def load(name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        PARITY / name, dtype=torch.float32, attn_implementation='eager'
    )
    return model.eval()


def configure(kind, count):
    if kind == 'prompt':
        return peft.PromptTuningConfig(task_type='CAUSAL_LM', num_virtual_tokens=count)
    hidden = dict(prefix_projection=True, encoder_hidden_size=7) if kind == 'projected' else {}
    return peft.PrefixTuningConfig(task_type='CAUSAL_LM', num_virtual_tokens=count, **hidden)


def write(name, base, kind, count):
    torch.manual_seed(len(name) + count)
    folder = HERE / 'peft' / name
    model = peft.get_peft_model(load(base), configure(kind, count)).eval()
    model.base_model_name_or_path = base
    model.peft_config['default'].base_model_name_or_path = base
    ids = torch.randint(1, 47, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    labels = torch.where(mask == 1, ids, -100)
    output = model(input_ids=ids, attention_mask=mask, labels=labels)
    output.loss.backward()
    logits = output.logits[:, -ids.shape[1] :]
    answers = dict(input_ids=ids, attention_mask=mask, logits=logits.detach(), loss=output.loss.detach())
    if kind != 'projected':
        answers['grad'] = model.prompt_encoder['default'].embedding.weight.grad
    model.save_pretrained(folder)
    (folder / 'README.md').unlink(missing_ok=True)
    greedy = [int(i) for i in ids[0, :4]]
    with torch.no_grad():
        for _ in range(8):
            step = torch.tensor([greedy])
            greedy.append(int(model(input_ids=step, attention_mask=torch.ones_like(step)).logits[0, -1].argmax()))
    answers['greedy'] = torch.tensor(greedy)
    save_file({key: value.contiguous() for key, value in answers.items()}, folder / 'answers.safetensors')
    print(name, *sorted(path.name for path in folder.iterdir()))


def read(folder, base, ids):
    model = peft.PeftModel.from_pretrained(load(base), folder).eval()
    ids = torch.tensor([ids])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -ids.shape[1] :]
    print(json.dumps(logits.tolist()))


if len(sys.argv) > 1:
    read(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])
else:
    for name, case in CASES.items():
        write(name, *case)
