"""Writes unet-NAME/: tiny random UNet2DModels with the reference implementation's outputs and gradients.

Needs torch and diffusers: python tests/parity/unet.py
"""

from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

CASES = {
    # Times scale and shift; one head as wide as the picture's channels; pictures in [0, 1]; one time between two for all.
    'unet-scale-shift': dict(
        block_out_channels=(8, 12), layers_per_block=1, norm_num_groups=4, attention_head_dim=None,
        down_block_types=('AttnDownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'AttnUpBlock2D'),
        resnet_time_scale_shift='scale_shift', center_input_sample=True, time_embedding_dim=10, freq_shift=1,
        flip_sin_to_cos=False, act_fn='gelu', in_channels=1, out_channels=2,
    ),
    # Residual blocks that change the size; classes; no attention in the middle, whose blocks are scaled.
    'unet-resampling-blocks': dict(
        block_out_channels=(4, 6, 8), layers_per_block=1, norm_num_groups=2, attention_head_dim=3, downsample_padding=0,
        down_block_types=('ResnetDownsampleBlock2D', 'AttnDownBlock2D', 'DownBlock2D'),
        up_block_types=('ResnetUpsampleBlock2D', 'AttnUpBlock2D', 'UpBlock2D'), downsample_type='resnet',
        upsample_type='resnet', num_class_embeds=5, add_attention=False, mid_block_scale_factor=1.5, act_fn='mish',
        norm_eps=1e-3,
    ),
    # An odd number of sinusoids and more blocks at a size; groups of their own for the attention in the middle; classes
    # that are times.
    'unet-middle-groups': dict(
        block_out_channels=(5, 10), layers_per_block=2, norm_num_groups=5, attn_norm_num_groups=2, attention_head_dim=4,
        down_block_types=('DownBlock2D', 'AttnDownBlock2D'), up_block_types=('UpBlock2D', 'AttnUpBlock2D'),
        downsample_padding=0, act_fn='relu', class_embed_type='timestep', mid_block_scale_factor=2 ** 0.5,
    ),
    # Nothing between the way down and the way up; one size only; classes that are vectors.
    'unet-no-middle': dict(
        block_out_channels=(8,), layers_per_block=2, norm_num_groups=4, mid_block_type=None,
        down_block_types=('AttnDownBlock2D',), up_block_types=('AttnUpBlock2D',), attention_head_dim=2,
        class_embed_type='identity',
    ),
}

for name, settings in CASES.items():
    generator = torch.Generator().manual_seed(0)
    model = UNet2DModel(**settings).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            spread = 0.8 / value[0].numel() ** 0.5 if value.dim() > 1 else 0.2
            mean = float(value.dim() == 1 and key.endswith('weight'))
            value.copy_(mean + spread * torch.randn(value.shape, generator=generator))
    channels, batch = model.config.in_channels, 2
    inputs = {
        'sample': torch.randn((batch, channels, 8, 12), generator=generator),
        'timestep': torch.tensor(123.5) if name == 'unet-scale-shift' else torch.tensor([3, 999]),
    }
    if model.config.class_embed_type == 'identity':
        inputs['class_labels'] = torch.randn((batch, 4 * settings['block_out_channels'][0]), generator=generator)
    elif model.class_embedding is not None:
        inputs['class_labels'] = torch.tensor([4, 0])
    target = torch.randn((batch, model.config.out_channels, 8, 12), generator=generator)
    sample = model(**inputs).sample
    loss = ((sample - target) ** 2).mean()
    loss.backward()
    folder = Path(__file__).parent / name
    model.save_pretrained(folder)
    save_file({key: value.grad for key, value in model.named_parameters()}, folder / 'grads.safetensors')
    save_file({**inputs, 'target': target}, folder / 'inputs.safetensors')
    save_file({'sample': sample.detach().contiguous(), 'loss': loss.detach()}, folder / 'outputs.safetensors')
    kilobytes = sum(file.stat().st_size for file in folder.iterdir()) // 1000
    print(name, f'{kilobytes} kB, loss {loss.item():.3f}')
