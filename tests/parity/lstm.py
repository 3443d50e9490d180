"""Records torch.nn.LSTM on small inputs: python tests/parity/lstm.py > tests/tensor/fixtures/lstm.json"""

import json

import torch

torch.manual_seed(7)
cases = []
for reverse in (False, True):
    for with_initial in (False, True):
        batch, seq, features, hidden = 2, 4, 3, 5
        # The second direction of a bidirectional layer is the one that reads from the end.
        layer = torch.nn.LSTM(features, hidden, batch_first=True, bidirectional=reverse)
        suffix = "_l0_reverse" if reverse else "_l0"
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        weights = {name: getattr(layer, name + suffix) for name in names}
        x = torch.randn(batch, seq, features, requires_grad=True)
        directions = 2 if reverse else 1
        h0 = torch.randn(directions, batch, hidden, requires_grad=True)
        c0 = torch.randn(directions, batch, hidden, requires_grad=True)
        outputs, (h, c) = layer(x, (h0, c0)) if with_initial else layer(x)
        outputs, h, c = outputs[..., -hidden:], h[-1], c[-1]
        seeds = [torch.randn_like(t) for t in (outputs, h, c)]
        loss = sum((t * seed).sum() for t, seed in zip((outputs, h, c), seeds))
        wrt = [x, *weights.values(), *((h0, c0) if with_initial else ())]
        grads = torch.autograd.grad(loss, wrt)
        grad_names = ["x", "wIh", "wHh", "bIh", "bHh", "h0", "c0"]
        keep = lambda t: {"shape": list(t.shape), "data": [float(v) for v in t.detach().flatten()]}
        cases.append(
            {
                "reverse": reverse,
                "initial": {"h0": keep(h0[-1]), "c0": keep(c0[-1])} if with_initial else None,
                "inputs": {"x": keep(x), **{n: keep(w) for n, w in zip(grad_names[1:5], weights.values())}},
                "outputs": {"outputs": keep(outputs), "h": keep(h), "c": keep(c)},
                "seeds": {"outputs": keep(seeds[0]), "h": keep(seeds[1]), "c": keep(seeds[2])},
                "grads": {n: keep(g[-1] if n in ("h0", "c0") else g) for n, g in zip(grad_names, grads)},
            }
        )
print(json.dumps(cases))
