"""A training step of a ResNet-18 with a 3 x 3 stem in PyTorch eager, on 32 x 32 pictures, batch 64 (see ../jackdaw/resnet-step.ts)."""

from contestant import THREADS, compete, per_second

BATCH = 64


def load():
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    def conv(inputs, outputs, kernel, stride):
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    class Layer(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.first = nn.Sequential(
                conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
            )
            self.second = nn.Sequential(conv(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs))
            same = stride == 1 and inputs == outputs
            self.shortcut = (
                nn.Identity() if same else nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            )

        def forward(self, x):
            return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)

    layers, channels = [conv(3, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)], 64
    for stage, width in enumerate([64, 128, 256, 512]):
        for layer in range(2):
            layers.append(Layer(channels, width, 2 if stage > 0 and layer == 0 else 1))
            channels = width
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    pixels = torch.rand(BATCH, 3, 32, 32) * 2 - 1
    labels = torch.arange(BATCH) % 10

    def step():
        loss = F.cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    step()
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"step": lambda seconds: per_second(seconds, BATCH, step)}, {"PyTorch": torch.__version__}, count


compete(load)
