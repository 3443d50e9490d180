"""Writes samplers.json: what diffusers' samplers make of noise under a toy network.

The network answers 0.3 x + 0.2 sin(t / 100), followed by 0.5 tanh(x) where variances are learned.
Needs torch and diffusers: python tests/parity/samplers.py
"""

import json
import math
import sys
from pathlib import Path

import diffusers
import torch

LATENT = dict(beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012)
CASES = [
    ('DDPMScheduler', dict(clip_sample=True), {}),
    ('DDPMScheduler', dict(num_train_timesteps=7, variance_type='fixed_large', clip_sample_range=0.7), {}),
    ('DDPMScheduler', dict(beta_schedule='squaredcos_cap_v2', variance_type='learned_range', clip_sample=False), {}),
    ('DDPMScheduler', dict(LATENT, prediction_type='v_prediction', timestep_spacing='trailing', variance_type='fixed_small_log'), {}),
    ('DDPMScheduler', dict(num_train_timesteps=40, trained_betas=[0.01 * i for i in range(1, 41)], timestep_spacing='linspace', prediction_type='sample'), {}),
    ('DDIMScheduler', dict(LATENT, set_alpha_to_one=False, steps_offset=1, clip_sample=False), dict(eta=0.0)),
    ('DDIMScheduler', dict(timestep_spacing='trailing', prediction_type='sample'), dict(eta=0.6)),
    ('DDIMScheduler', dict(prediction_type='v_prediction', timestep_spacing='trailing', rescale_betas_zero_snr=True), dict(eta=1.0)),
]

result = []
for seed, (name, config, step) in enumerate(CASES):
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(7)
    generator = torch.Generator().manual_seed(seed)
    noises = []

    def draw(shape, **_):
        noises.append(torch.randn(shape, generator=generator))
        return noises[-1]

    sys.modules[type(scheduler).__module__].randn_tensor = draw
    x = start = torch.randn((2, 1, 1, 3), generator=generator)
    path = []
    for t in scheduler.timesteps:
        output = 0.3 * x + 0.2 * math.sin(float(t) / 100)
        if config.get('variance_type') == 'learned_range':
            output = torch.cat([output, 0.5 * torch.tanh(x)], 1)
        x = scheduler.step(output, t, x, **step).prev_sample
        path.append(x.flatten().tolist())
    result.append(dict(
        scheduler=name, config=config, steps=7, step=step, betas=scheduler.betas.tolist()[::100],
        alphas_cumprod=scheduler.alphas_cumprod.tolist()[::100], timesteps=scheduler.timesteps.tolist(), shape=list(x.shape),
        start=start.flatten().tolist(), noises=[noise.flatten().tolist() for noise in noises], path=path,
    ))
Path(__file__).with_name('samplers.json').write_text(json.dumps(result) + '\n')
