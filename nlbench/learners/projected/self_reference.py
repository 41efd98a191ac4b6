"""Self-referential memories over slow keys: what they read makes the key, rate and retention of every write, their own included.

Shapes: S seeds, B tokens of a chunk, D width of a slow key x.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 83-90 for memories M(z) = z + W z of keys and values, W z of rates and
retentions; every memory, retained to its initial state, learns its own target M(v).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.learners.projected.config import SelfReference
from nlbench.nested.self_referential import Group, Matrix, SelfReferentialConfig, Tokens, learn

INITIAL_GAIN: Final = 0.3
"""Of the initial states, N(0, gain² / D): small beside the identity path. At zero v is k, and nothing is ever learned."""
RATE_BIAS: Final = -2.0
RETAIN_BIAS: Final = 4.0


class Writes(NamedTuple):
    """How a chunk is written: each token's rate and what a token leaves of what was there before it, (S, B), both 1 where the
    memories do not make them; a rate is 1 where its memory answers 0.
    """

    rates: Tensor
    retained: Tensor


class Fading(NamedTuple):
    """What a chunk does to what was gathered before and to itself: each token's rate, with what later tokens of the chunk leave
    of it, (S, B, 1), and what all of them leave of what was there before, (S, 1, 1).
    """

    rates: Tensor
    left: Tensor

    @classmethod
    def of(cls, writes: Writes) -> Fading:
        """Return that of a chunk."""
        left = F.pad(writes.retained, (0, 1), value=1.0).flip(1).cumprod(1).flip(1)
        return cls((writes.rates * left[:, 1:])[..., None], left[:, :1, None])


class SelfReferences:
    """The memories of keys, values, rates and retentions; one matrix (S, 2 D + 2, D) holds them in this order.

    `tensors` are their initial states, and what was written since: M - M_0.
    """

    def __init__(self, config: SelfReference, width: int, problem: Problem) -> None:
        self._config = config
        self._widths = (width, width, 1, 1)
        self._learning = SelfReferentialConfig(form="linear")
        initial = [
            torch.from_numpy(draws.normal(problem.seeds, f"init/self_reference.{name}", (rows, width)))
            for name, rows in zip(("key", "value", "rate", "retain"), self._widths, strict=True)
        ]
        start = torch.cat(initial, 1).to(problem.device) * (INITIAL_GAIN * width**-0.5)
        self.tensors = [start, torch.zeros_like(start)]

    def keys(self, slow: Tensor) -> Tensor:
        """Return the keys (S, N, D) of slow keys (S, N, D), as long as they are."""
        if "keys" not in self._config.makes:
            return slow
        return torch.stack([self.of_seed(seed, own) for seed, own in enumerate(slow)])

    def of_seed(self, seed: int, slow: Tensor) -> Tensor:
        """Return the keys (N, D) of one seed, for slow keys (N, D)."""
        if "keys" not in self._config.makes:
            return slow
        initial, written = (tensor[seed, : slow.shape[-1]] for tensor in self.tensors)
        made = torch.addmm(slow, slow, (initial + written).T)
        return made * (slow.norm(dim=-1, keepdim=True) / made.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(made.dtype).tiny))

    def write(self, slow: Tensor) -> Writes:
        """Return how the chunk of slow keys (S, B, D) is written, and let the memories learn from it by the same rule."""
        initial, written = (tensor[:, None] for tensor in self.tensors)
        group = Group(("key", "value", "rate", "retain"), self._widths, Matrix(initial, written), ())
        x = slow[:, None]
        made = group.answers(group.hidden(x), x, self._learning)
        share = torch.sigmoid(made["rate"][..., 0] + RATE_BIAS)
        retained = 1.0 - self._config.forget * torch.sigmoid(-made["retain"][..., 0] - RETAIN_BIAS)
        keys, values = F.normalize(made["key"], dim=-1), F.normalize(made["value"], dim=-1)
        tokens = Tokens(keys, values, self._learning.rate_cap(slow.shape[1]) * share, retained, None)
        learned = learn(group, tokens, self._learning)[0].first.difference
        assert learned is not None
        self.tensors[1] = learned[:, 0]
        ones = torch.ones_like(share[:, 0])
        return Writes(
            share[:, 0] * (1.0 + math.exp(-RATE_BIAS)) if "rates" in self._config.makes else ones,
            retained[:, 0] if "retentions" in self._config.makes else ones,
        )

    def forget(self) -> None:
        """Return to the initial states: the slow keys changed."""
        self.tensors[1].zero_()
