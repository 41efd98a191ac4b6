"""A read-out whose values are (context, class): every context has weights of its own over levels that all contexts share.

What a context is, which one a chunk belongs to and how likely each is for a sample, somebody else says. A chunk is read and
written in its context alone, by the softmax over that context's classes, so that no other context's weights move; what the keys
of all contexts protect is common.

Shapes: S seeds, G contexts, C classes, D width of a key, N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.kernels import contexts as contexts_op
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.memory import Ops
from nlbench.learners.projected.readout import Protected


class ContextValues(Protected):
    """A protected read-out for each of G contexts; the memory's weights are those of each seed's present one.

    store    (S, G, C, D), each context's weights as they were left; of one never turned to, the first weights
    present  (S,), whose weights the memory has
    used     (S, G), the contexts that were turned to
    """

    def __init__(self, config: ProjectedConfig, weights: Tensor, ops: Ops, contexts: int) -> None:
        """Raises `ValueError` where it does not stand above a level of period 1, or its rule is another."""
        if not (config.readout.rule == "protected" and config.levels and config.levels[-1].period == 1):
            raise ValueError('context values need a read-out of rule "protected" above a level of period 1')
        super().__init__(config, weights, ops)
        seeds, self._contexts = len(weights), ops.steps.beside(contexts_op, weights)
        self.store = self.memory.weights[:, None].repeat(1, contexts, 1, 1)
        self.present = torch.zeros(seeds, dtype=torch.int64, device=weights.device)
        self.used = torch.zeros(seeds, contexts, dtype=torch.bool, device=weights.device)

    def turn_to(self, contexts: Tensor) -> None:
        """Leave the present context's weights, and take up those of contexts (S,); the host waits for nothing."""
        self._contexts.turn(self.store, self.memory.weights, self.present, self.used, contexts)
        self.memory.renew_weights()

    def rows(self, seed: int, owed: Tensor | None) -> Tensor:
        """Return the weights (1, K C, D) of the K contexts that a seed has turned to, in order."""
        own = self.store[seed].clone()
        own[self.present[seed]] = self.memory.weights[seed]
        return own[self._readable(seed)].flatten(0, 1)[None]

    def scores(self, seed: int, answers: Tensor, belief: Tensor | None) -> Tensor:
        """Return the log shares (1, N, C) of classes by answers (1, N, K C), each by the context in which its own share within
        that context times the context's is largest.
        """
        shares = answers.unflatten(2, (-1, self.memory.weights.shape[1])).log_softmax(3)
        if belief is not None:
            shares = shares + belief[None, :, self._readable(seed), None]
        return shares.amax(2)

    def _readable(self, seed: int) -> Tensor:
        """Return which contexts (G,) a seed reads: those turned to, and before the first the present one."""
        used = self.used[seed]
        return used | ((torch.arange(len(used), device=used.device) == self.present[seed]) & ~used.any())

    def tensors(self) -> dict[str, Tensor]:
        return {"store": self.store, "present": self.present, "used": self.used}
