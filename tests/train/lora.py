"""Write LoRA adapters of the peft package for tiny checkpoints of tests/parity, with what the models answer with them.

    python lora.py                    writes the folders of peft/
    python lora.py FOLDER MODEL [MODEL's tokens ...]
                                      reads a folder that was written here, and prints the logits with it as JSON

A folder has adapter_config.json and adapter_model.safetensors, as `save_pretrained` makes them, and answers.safetensors:
input_ids, logits, and d loss / d of the first layer's lora_A and lora_B (labels are the ids). Needs torch, transformers 5
and peft 0.21.
"""

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
PARITY = HERE.parent / 'parity'
torch.set_num_threads(1)

CASES = {
    'llama-all-linear': ('llama', dict(r=3, lora_alpha=6, target_modules='all-linear')),
    'llama-one-layer': ('llama-multi-query-tied', dict(r=2, target_modules=['layers.1.self_attn.v_proj'])),
    'gpt2-attention': ('gpt2', dict(r=2, lora_alpha=5, target_modules=['c_attn'], use_rslora=True)),
}


def load(name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        PARITY / name, dtype=torch.float32, attn_implementation='eager'
    )
    return model.eval()


def write(name, base, settings):
    torch.manual_seed(len(name))
    folder = HERE / 'peft' / name
    model = peft.get_peft_model(load(base), peft.LoraConfig(task_type='CAUSAL_LM', **settings)).eval()
    model.peft_config['default'].base_model_name_or_path = f'../../../parity/{base}'
    trained = [(key, value) for key, value in model.named_parameters() if value.requires_grad]
    for _, value in trained:
        torch.nn.init.normal_(value, std=0.3)
    ids = torch.randint(1, 47, (2, 9))
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    answers = dict(input_ids=ids, logits=output.logits.detach())
    for key, value in trained[:2]:
        answers[key.replace('.default', '')] = value.grad
    model.save_pretrained(folder)
    (folder / 'README.md').unlink(missing_ok=True)
    save_file({key: value.contiguous() for key, value in answers.items()}, folder / 'answers.safetensors')
    print(name, *sorted(path.name for path in folder.iterdir()))


def read(folder, base, ids):
    model = peft.PeftModel.from_pretrained(load(base), folder).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    print(json.dumps(logits.tolist()))


if len(sys.argv) > 1:
    read(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])
else:
    for name, case in CASES.items():
        write(name, *case)
