"""Writes resnet-NAME/: tiny random ResNets with the reference implementation's outputs and gradients.

Needs torch and transformers: python tests/parity/resnet.py
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

CASES = {
    # Bottlenecks as in the paper: the first 1 x 1 convolution and the first stage halve the picture; grey pictures.
    'resnet-paper': (
        ResNetForImageClassification,
        dict(layer_type='bottleneck', depths=[1, 2], hidden_sizes=[8, 12], embedding_size=6, num_channels=1,
             downsample_in_bottleneck=True, downsample_in_first_stage=True, num_labels=3),
        (2, 1, 34, 30),
    ),
    # In training: the batch's own statistics, and what becomes of the running ones.
    'resnet-training': (
        ResNetForImageClassification,
        dict(layer_type='basic', depths=[1, 1], hidden_sizes=[6, 10], embedding_size=6, num_labels=3),
        (4, 3, 32, 32),
    ),
    # Another activation in the stem and after the sums, and features without a classifier.
    'resnet-features': (
        ResNetModel,
        dict(layer_type='basic', depths=[2, 1], hidden_sizes=[6, 8], embedding_size=6, hidden_act='silu'),
        (1, 3, 24, 40),
    ),
}

for name, (model_class, settings, shape) in CASES.items():
    torch.manual_seed(0)
    model = model_class(ResNetConfig(**settings)).eval()
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and value.dim() == 1:
                value.copy_(torch.rand_like(value) + (0.5 if key.endswith(('norm.weight', 'running_var')) else -0.5))
    pixels = torch.randn(shape)
    folder = Path(__file__).parent / name
    model.save_pretrained(folder)
    model.train(name == 'resnet-training')
    inputs = {'pixel_values': pixels}
    if model_class is ResNetForImageClassification:
        inputs['labels'] = torch.arange(shape[0]) % 3
    outputs = model(**inputs)
    tensors = {key: value.detach().contiguous() for key, value in outputs.items() if torch.is_tensor(value)}
    if outputs.get('loss') is not None:
        outputs['loss'].backward()
        save_file({key: p.grad for key, p in model.named_parameters()}, folder / 'grads.safetensors')
    if model.training:
        running = {key: value for key, value in model.named_buffers() if 'running' in key}
        save_file(running, folder / 'running.safetensors')
    save_file(inputs, folder / 'inputs.safetensors')
    save_file(tensors, folder / 'outputs.safetensors')
    config = json.loads((folder / 'config.json').read_text())
    print(name, config['architectures'], {key: tuple(value.shape) for key, value in tensors.items()})
