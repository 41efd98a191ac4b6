"""The continuum memory: levels from slow to fast and a read-out above them, as one state.

Shapes: S seeds, N tokens, D width of the first memory's keys, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.kernels import Backend, batch_product, bind, metric_update, mlp_logits
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.context_values import ContextValues
from nlbench.learners.projected.memory import Memory, Ops, Writing
from nlbench.learners.projected.order import OwedOrder
from nlbench.learners.projected.protection import Protection
from nlbench.learners.projected.readout import RULES
from nlbench.state import put


class Continuum:
    """`levels`, the `readout` and the `memories` of both, slow to fast.

    backend         what runs their kernels
    many_at_once    whether it gains by chunks that are learned at once
    """

    def __init__(
        self, config: ProjectedConfig, width: int, problem: Problem, otherwise: Backend, *, contexts: int | None = None
    ) -> None:
        """Levels of `config` above keys of this width, without the constant; `otherwise` runs what needs no kernel. With
        `contexts`, a protected read-out above a level of period 1 answers by context (`context_values`).
        """
        widths = [width, *(level.width for level in config.levels), problem.n_classes]
        weights = [initial(problem, f"memory{i}", *sizes) for i, sizes in enumerate(pairwise(widths))]
        rule, metric = RULES[config.readout.rule], config.metric
        protects = (metric and bool(config.levels)) or rule.steps
        steps = bind(metric_update, problem.backend if protects or rule.gathers else otherwise, weights[0])
        ops = Ops(steps, steps.beside(batch_product, weights[0]))
        self.backend, self.many_at_once = steps.backend, not steps.has("step")
        self._logits = steps.beside(mlp_logits, weights[0])
        self.levels = [
            Memory(own, Writing.of(config, level), ops, gathers=metric, protects=metric, first=i == 0, hidden=True)
            for i, (level, own) in enumerate(zip(config.levels, weights, strict=False))
        ]
        self.readout = ContextValues(config, weights[-1], ops, contexts) if contexts else rule(config, weights[-1], ops)
        self.memories = [*self.levels, self.readout.memory]
        self._protection, self._order = Protection(self.memories), OwedOrder(problem)
        steps.load(exact=rule.gathers and not rule.steps, protects=protects)
        self._logits.load()
        for memory in self.memories:
            memory.load()

    def answers(self, seed: int, keys: Tensor, belief: Tensor | None = None) -> Tensor:
        """Return what one seed's read-out answers (1, N, C) to keys (N, D) of the first memory; nothing is written. Of contexts,
        `belief` (N, G) is each sample's log share of each; all alike where it is None.
        """
        rows = self.readout.rows(seed, None if self.levels else self._order.unsettled)
        own = [*(level.weights[seed : seed + 1] for level in self.levels), rows]
        weights, biases = [each[..., :-1] for each in own], [each[..., -1] for each in own]
        return self.readout.scores(seed, self._logits.mlp_logits(weights, biases, keys[None]), belief)

    def refresh(self, *, protects: bool, solves: bool) -> None:
        """Bring up to date what is protected, and what is solved for."""
        if protects:
            self._protection.renew()
        if solves:
            self.readout.refresh()

    def fade(self, left: Tensor) -> None:
        """Keep the share `left` (S, 1, 1) of all that was gathered."""
        for level in self.levels:
            level.gram.mul_(left)
        self.readout.fade(left)

    def forget(self) -> None:
        """Keep nothing of what was gathered: the keys changed."""
        for level in self.levels:
            level.gram.zero_()
        self.readout.forget()

    def permute(self, order: Tensor) -> None:
        """Reorder the first memory's keys, order (S, D), in place; what was gathered of them follows in `settle`."""
        self.memories[0].permute(order)
        self._order.move(order)

    def settle(self) -> None:
        """Before a write: let what was gathered follow the order that is owed."""
        self.readout.outdate()
        order = self._order.settle()
        if order is not None:
            self.memories[0].follow(order)
            if not self.levels:
                self.readout.follow(order)

    def tensors(self) -> dict[str, Tensor]:
        """Return by name what steps change in place."""
        found = {f"memory{i}.{name}": each for i, memory in enumerate(self.memories) for name, each in memory.tensors().items()}
        return found | {f"readout.{name}": each for name, each in self.readout.tensors().items()}

    def parts(self) -> list[Tensor]:
        """Return what products keep on a GPU beside what is multiplied."""
        return [part for memory in self.memories for part in memory.parts()]

    def state(self) -> dict[str, Tensor]:
        """Return all that a resume needs."""
        return {**self.tensors(), "owed": self._order.owed}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over another's state, in place."""
        for name, own in self.tensors().items():
            put(own, state, name)
        self._order.restore(state["owed"])
        self.readout.outdate()
        for memory in self.memories:
            memory.renew()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all seeds by kind; what products keep of a matrix is memory."""
        gathered = [each for memory in self.memories for each in (memory.gram, memory.projection)]
        kinds = {
            "parameters": [memory.weights for memory in self.memories],
            "optimizer": [memory.pending for memory in self.memories],
            "memory": [*gathered, *self.readout.tensors().values(), *self.parts()],
        }
        return {kind: sum(tensor.nbytes for tensor in tensors) for kind, tensors in kinds.items()}


def initial(problem: Problem, name: str, d_in: int, d_out: int) -> Tensor:
    """Return weights (S, d_out, d_in + 1) drawn from N(0, 2 / d_in), the scale that ReLUs keep (He et al. 2015); no bias."""
    weight = torch.from_numpy(draws.normal(problem.seeds, f"init/{name}", (d_out, d_in))).to(problem.device) * (2.0 / d_in) ** 0.5
    return torch.cat([weight, weight.new_zeros(*weight.shape[:-1], 1)], -1)
