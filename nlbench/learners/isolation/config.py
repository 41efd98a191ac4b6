"""What a `[learner]` table of each method of isolation may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nlbench.learners.gradient_config import GradientConfig, HeadKind

PositiveInt = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class IsolationConfig(GradientConfig):
    """What every method of isolation is told: each task has a head."""

    head: HeadKind = "task"

    @model_validator(mode="after")
    def _head_a_task(self) -> IsolationConfig:
        if self.head != "task":
            raise ValueError(f'head: must be "task", got "{self.head}"')
        return self


class MultiHeadConfig(IsolationConfig):
    """Plain fine-tuning of a network with a head a task."""

    kind: Literal["multi-head"]


class HatConfig(IsolationConfig):
    """Hard attention to the task: learned gates of units, and no gradient where a unit was used before."""

    kind: Literal["hat"]
    steepness: Annotated[float, Field(gt=1)] = 400.0
    """s_max: of the gates at test."""
    sparsity: NotNegative = 0.75
    """c: the weight of the share of new units that are used."""
    anneal: PositiveInt = 100
    """Steps in which the gates become steep, over and over: those of a pass over a task."""

    @model_validator(mode="after")
    def _gradient_descent(self) -> HatConfig:
        if self.optimizer.kind != "sgd" or self.optimizer.weight_decay:
            raise ValueError(
                "optimizer: must be sgd without weight decay, as others move weights whose gradient is gated; got "
                f"{self.optimizer.kind}, weight decay {self.optimizer.weight_decay:g}"
            )
        return self


class PackNetConfig(IsolationConfig):
    """Each task prunes what it trained, and the next ones train what became free."""

    kind: Literal["packnet"]
    pruned: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """The share of a task's weights that it gives up, layer by layer."""
    prune_after: PositiveInt = 100
    """Steps of a task before its weights are pruned; those that follow retrain the rest."""
