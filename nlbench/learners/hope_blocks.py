"""HOPE as the paper draws it, on images: a sample is a short sequence of its parts, and the memories start fresh for each sample.

What protects old tasks here is only that slow levels of the continuum memory change seldom. With `mixer = "attention"` it is
Hope-Attention. Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 94-97; SGD as the error part of every level.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nlbench.batch import Batch, Learner, Problem
from nlbench.kernels.softmax import cross_entropy
from nlbench.learners.config import HopeBlocksConfig
from nlbench.nested.clocks import check_all_fire
from nlbench.nested.continuum import ContinuumMemory
from nlbench.nested.continuum_update import LevelState, Plan, Rule, continuum_update
from nlbench.nested.hope import HopeClassifier
from nlbench.nested.layers import Tree

PREDICTED_AT_ONCE = 500
"""Samples: the memories of a sample take far more room than the sample."""


class HopeBlocks(Learner):
    """Every level's parameters move once in its period; what is in no level (embedding, mixers, head) moves at every step."""

    def __init__(self, config: HopeBlocksConfig, problem: Problem) -> None:
        check_all_fire(config.periods, problem.steps)
        self.module = HopeClassifier(
            problem.n_inputs,
            config.width,
            problem.n_classes,
            config.periods,
            depth=config.depth,
            cms="sequential",
            tokens=config.tokens,
            heads=config.heads,
            mixer=config.mixer,
            seeds=problem.seeds,
        ).to(problem.device)
        periods = tuple(sorted({1, *config.periods}))
        self._plan = Plan(periods, seed_axis=True)
        self._targets = [_of_period(self.module, period) for period in periods]
        self._rules: list[Rule] = [_descent(config.rate)] * len(periods)
        self._levels = tuple(LevelState(_values(targets)) for targets in self._targets)
        self._step = 0

    def observe(self, batch: Batch) -> Tensor:
        self._step += 1
        with torch.enable_grad():
            logits = self.module(batch.inputs.flatten(2))
        loss, delta = cross_entropy(logits.detach(), batch.labels, batch.classes)
        leaves = [value for targets in self._targets for value in targets.values()]
        gradients = iter(torch.autograd.grad(logits, leaves, delta))
        trees = [{name: next(gradients) for name in targets} for targets in self._targets]
        self._levels = continuum_update(self._levels, trees, self._rules, self._plan, self._step)
        for targets, level in zip(self._targets, self._levels, strict=True):
            for name, target in targets.items():
                target.data = level.parameters[name]
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        inputs = inputs.flatten(2).expand(self._seeds, -1, -1)
        return torch.cat([self.module(part) for part in inputs.split(PREDICTED_AT_ONCE, dim=1)], 1)

    def state_dict(self) -> dict[str, Tensor]:
        state = {"step": torch.tensor(self._step), **super().state_dict()}
        for period, level in zip(self._plan.periods, self._levels, strict=True):
            state |= {f"{period}/{name}": value for name, value in level.accumulated.items()}
            state |= {f"{period}/pending": torch.tensor(level.pending), f"{period}/updates": torch.tensor(level.updates)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if "/" not in name and name != "step"})
        self._step = int(state["step"])
        device = next(self.module.parameters()).device
        levels = []
        for period, targets in zip(self._plan.periods, self._targets, strict=True):
            pending, updates = int(state[f"{period}/pending"]), int(state[f"{period}/updates"])
            waiting = {name: state[f"{period}/{name}"].to(device).clone() for name in targets} if pending else {}
            levels.append(LevelState(_values(targets), accumulated=waiting, pending=pending, updates=updates))
        self._levels = tuple(levels)

    def memory_bytes(self) -> dict[str, int]:
        sizes = [sum(value.nbytes for value in targets.values()) // self._seeds for targets in self._targets]
        waiting = [size for size, period in zip(sizes, self._plan.periods, strict=True) if period > 1]
        return {"parameters": sum(sizes), "optimizer": sum(waiting)}

    def diagnostics(self) -> dict[str, Tensor]:
        return {
            f"level.{period}.updates": torch.full((self._seeds,), float(level.updates))
            for period, level in zip(self._plan.periods, self._levels, strict=True)
        }

    @property
    def _seeds(self) -> int:
        return len(next(self.module.parameters()))


def _of_period(module: nn.Module, period: int) -> dict[str, nn.Parameter]:
    """Return the parameters of the levels of one period; for period 1 also what is in no continuum memory."""
    found: dict[str, nn.Parameter] = {}
    held: set[str] = set()
    for path, memory in module.named_modules():
        if isinstance(memory, ContinuumMemory):
            for index, own in enumerate(memory.periods):
                level = {f"{path}.{name}": value for name, value in memory.level_parameters(index).items()}
                held |= set(level)
                found |= level if own == period else {}
    if period == 1:
        found |= {name: value for name, value in module.named_parameters() if name not in held}
    return found


def _values(targets: Mapping[str, nn.Parameter]) -> Tree:
    return {name: value.detach() for name, value in targets.items()}


def _descent(rate: float) -> Rule:
    def rule(parameters: Tree, gradient: Tree, state: None) -> tuple[Tree, None]:
        return {name: value - rate * gradient[name] for name, value in parameters.items()}, state

    return rule
