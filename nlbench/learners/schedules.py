"""Rates that change from step to step, in cycles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlbench.learners import optimizer_config as configs
from nlbench.learners.optimizers import Optimizer, Slots
from nlbench.networks.network import Tree


def scheduled(optimizer: Optimizer, config: configs.ScheduleConfig | None) -> Optimizer:
    """Return the optimizer, its moves as the schedule says; without one as it is."""
    return optimizer if config is None else Scheduled(optimizer, config)


class Scheduled:
    """Another optimizer, each of whose moves is multiplied by what a schedule says: its rate, where moves follow the rate.

    The steps so far are counted on the device, in the slot `schedule`, so that a captured step counts them too.
    Cost: a copy of the parameters, and a pass over them, a step.
    """

    def __init__(self, optimizer: Optimizer, config: configs.ScheduleConfig) -> None:
        self._optimizer, self._config = optimizer, config
        self.captured = optimizer.captured

    def initial(self, parameters: Tree) -> Slots:
        first = [*parameters.items()][:1]
        counts = {name: torch.zeros((), dtype=torch.int64, device=value.device) for name, value in first}
        return {**self._optimizer.initial(parameters), "schedule": counts}

    def step(self, parameters: Tree, gradients: Tree, slots: Slots, rate: float) -> None:
        count = next(iter(slots["schedule"].values()))  # of those that were taken in first: heads of later tasks follow it
        own = {kind: tree for kind, tree in slots.items() if kind != "schedule"}
        moved, before = [parameters[name] for name in gradients], [parameters[name].clone() for name in gradients]
        self._optimizer.step(parameters, gradients, own, rate)
        share = shared(self._config, count)
        for value, old in zip(moved, before, strict=True):
            value.copy_(torch.lerp(old, value, share.to(value.dtype)))
        count += 1


def shared(config: configs.ScheduleConfig, count: Tensor) -> Tensor:
    """Return which share of the rate the step after `count` others has, a number in [0, 1] on the device of count."""
    step = (count % config.steps).float()
    warm = ((step + 1) / (config.warm_up + 1)).clamp(max=1.0)
    after = (step - config.warm_up).clamp(min=0.0)
    if isinstance(config, configs.CosineSchedule):
        cosine = torch.cos(after * (math.pi / (config.steps - config.warm_up)))
        return warm * (config.least + (1 - config.least) * (1 + cosine) / 2)
    if isinstance(config, configs.StepSchedule):
        return warm * config.drop ** (after // config.every)
    return warm
