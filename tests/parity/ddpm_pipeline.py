"""Writes ddpm-pipeline/: a tiny random DDPMPipeline, and what it draws from recorded noise.

Needs torch and diffusers: python tests/parity/ddpm_pipeline.py
"""

import sys
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

STEPS = 6

generator = torch.Generator().manual_seed(0)
unet = UNet2DModel(
    sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2,
    attention_head_dim=None, down_block_types=('DownBlock2D', 'AttnDownBlock2D'),
    up_block_types=('AttnUpBlock2D', 'UpBlock2D'), downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
).eval()
with torch.no_grad():
    for key, value in unet.named_parameters():
        spread = 0.8 / value[0].numel() ** 0.5 if value.dim() > 1 else 0.2
        mean = float(value.dim() == 1 and key.endswith('weight'))
        value.copy_(mean + spread * torch.randn(value.shape, generator=generator))
pipeline = DDPMPipeline(unet=unet, scheduler=DDPMScheduler(variance_type='fixed_large', beta_end=0.03))
pipeline.set_progress_bar_config(disable=True)

drawn = []


def draw(shape, **_):
    drawn.append(torch.randn(shape, generator=generator))
    return drawn[-1]


for module in (DDPMPipeline, DDPMScheduler):
    sys.modules[module.__module__].randn_tensor = draw
pictures = pipeline(batch_size=2, num_inference_steps=STEPS, output_type='np').images  # [batch, height, width, channels]

folder = Path(__file__).parent / 'ddpm-pipeline'
pipeline.save_pretrained(folder)
save_file({f'noise.{i}': noise for i, noise in enumerate(drawn)}, folder / 'tensors.safetensors')
save_file({'images': torch.tensor(pictures).permute(0, 3, 1, 2).contiguous()}, folder / 'outputs.safetensors')
print(f'{len(drawn)} noises, pictures {pictures.mean():.3f} ± {pictures.std():.3f}')
