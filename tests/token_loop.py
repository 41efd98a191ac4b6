"""A self-referential memory beside a token loop that follows the equations one by one, for the tests of `nested`."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig

REFERENCE = SelfReferentialConfig(form="linear", chunk=4, outer_chunk=8, truncation=None, backend="reference")
NAMES = ("key", "value", "rate", "retain", "memory")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def module(config=REFERENCE, dim=8, heads=1, seeds=0) -> SelfReferential:
    return SelfReferential(dim, heads, config, seeds=seeds).double()


def configured(**changes) -> SelfReferentialConfig:
    return replace(REFERENCE, **changes)


class TokenLoop:
    """One head, one stream, one token at a time: eq. 83-93 as they are resolved, with nothing shared with the package."""

    def __init__(self, module: SelfReferential) -> None:
        self.config = module.config
        self.initial = {name: [p.detach()[0].clone() for p in module.initial[name]] for name in module.config.names}
        self.now = {name: [m.clone() for m in matrices] for name, matrices in self.initial.items()}
        self.start = {name: [m.clone() for m in matrices] for name, matrices in self.initial.items()}
        self.velocity = {name: [0 * m for m in matrices] for name, matrices in self.initial.items()}
        self.rate_bias, self.retain_bias = float(module.rate_bias.detach()), float(module.retain_bias.detach())
        self.project = None if module.query is None else module.query.weight.detach()

    def answer(self, name, matrices, z):
        y = matrices[0] @ z if len(matrices) == 1 else matrices[1] @ F.gelu(matrices[0] @ z)
        return y + z if name not in ("rate", "retain") and self.config.form != "matrix" else y

    def step(self, t, x):
        c = self.config
        for name in self.now:
            if t % (c.chunk if name == "memory" else c.outer_chunk) == 0:
                self.start[name] = [m.clone() for m in self.now[name]]
        k = self.answer("key", self.start["key"], x)
        k = k / k.norm()
        v = self.answer("value", self.start["value"], x)
        v = v / v.norm() if c.normalize_values else v
        share = torch.sigmoid(self.answer("rate", self.start["rate"], x) + self.rate_bias)
        retain = c.retain_min + (1 - c.retain_min) * torch.sigmoid(
            self.answer("retain", self.start["retain"], x) + self.retain_bias
        )
        q = self.answer("query", self.start["query"], x) if self.project is None else self.project @ x
        q = q / q.norm()
        y = self.answer("memory", self.start["memory"] if c.read == "stale" else self.now["memory"], q)
        for name in self.now:
            chunk = c.chunk if name == "memory" else c.outer_chunk
            cap = c.rate_max if c.rate_max is not None else (1 - c.momentum) * (1.0 if c.objective == "dot" else 1 / chunk)
            self.write(name, k, v, cap * share, retain)
        return y

    def write(self, name, k, v, rate, retain):
        c = self.config
        leaves = [m.clone().requires_grad_() for m in self.start[name]]
        target = self.answer(name, self.start[name], v)
        if c.target_clip is not None:
            target = target * min(1.0, c.target_clip / float(target.norm()))
        y = self.answer(name, leaves, k)
        loss = 0.5 * (y - target).square().sum() if c.objective == "l2" else -(y * target).sum()
        gradients = torch.autograd.grad(loss, leaves)
        hidden = F.gelu(self.start[name][0] @ k)
        inputs = [k, hidden / max(1.0, float(hidden.norm()))]
        for i, (gradient, a) in enumerate(zip(gradients, inputs, strict=False)):
            base = self.initial[name][i] if c.retention == "init" else 0 * self.initial[name][i]
            decay = retain * torch.eye(len(a)).double() - rate * torch.outer(a, a)
            self.velocity[name][i] = c.momentum * self.velocity[name][i] - rate * gradient
            self.now[name][i] = base + (self.now[name][i] - base) @ decay + self.velocity[name][i]

    def run(self, x):
        return torch.stack([self.step(t, token) for t, token in enumerate(x)])
