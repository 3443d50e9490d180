"""A GPT training step in PyTorch: fused attention, clipping, fused AdamW. `gpt_train.py eager|compile SHAPE`, the shape as JSON."""

import json
import sys

from contestant import THREADS, compete, per_second


def load():
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    mode, size = sys.argv[1], json.loads(sys.argv[2])
    layers, heads, width = size["nLayers"], size["nHeads"], size["dModel"]
    seq, batch, vocab = size["seq"], size["batch"], size["vocabSize"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1 = nn.LayerNorm(width, bias=False)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.attn_proj = nn.Linear(width, width, bias=False)
            self.ln_2 = nn.LayerNorm(width, bias=False)
            self.fc = nn.Linear(width, 4 * width, bias=False)
            self.mlp_proj = nn.Linear(4 * width, width, bias=False)

        def forward(self, x):
            q, k, v = (
                part.view(batch, seq, heads, width // heads).transpose(1, 2)
                for part in self.qkv(self.ln_1(x)).split(width, 2)
            )
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.attn_proj(attended.transpose(1, 2).reshape(batch, seq, width))
            return x + self.mlp_proj(F.gelu(self.fc(self.ln_2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte = nn.Embedding(vocab, width)
            self.wpe = nn.Embedding(seq, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.ln_f = nn.LayerNorm(width, bias=False)
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, ids, labels):
            x = self.wte(ids) + self.wpe(torch.arange(seq))
            for block in self.blocks:
                x = block(x)
            logits = F.linear(self.ln_f(x), self.wte.weight)
            return F.cross_entropy(logits.view(-1, vocab), labels.view(-1))

    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    if mode == "compile":
        model = torch.compile(model)

    # The same made-up stream as in ../jackdaw/gpt-trainer.ts.
    stream, state = [], 7
    for i in range(200_000):
        state = (state * 5 + (i % 3) + 3) % min(vocab, 61)
        stream.append(state)
    data = torch.tensor(stream)

    def step():
        starts = torch.randint(len(data) - seq - 1, (batch,)).tolist()
        ids = torch.stack([data[i : i + seq] for i in starts])
        labels = torch.stack([data[i + 1 : i + 1 + seq] for i in starts])
        loss = model(ids, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    for _ in range(3):
        step()
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"step": lambda seconds: per_second(seconds, batch * seq, step)}, {"PyTorch": torch.__version__}, count


compete(load)
