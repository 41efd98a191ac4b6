"""Stream declarations: `tasks/<name>.toml` as frozen models."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from nlbench.specs.disturbances import Blur, Imbalance, Noise, Recurrence
from nlbench.specs.identity import placeless
from nlbench.specs.kinds import KindOf
from nlbench.specs.model import Closed

Scenario = Literal["task-il", "domain-il", "class-il"]
OutputSpace = Literal["all", "seen", "task"]


class StreamConfig(Closed):
    """What every kind of stream says; the config of a kind adds its own keys."""

    optional: ClassVar[tuple[str, ...]] = ("recurrence", "imbalance", "noise", "blur")
    """Keys that are no part of what a stream is where they say nothing: streams of before there were such keys stay the same."""

    kind: str
    tasks: Annotated[int, Field(ge=1)]
    scenario: Scenario = "class-il"
    recurrence: Recurrence | None = None
    imbalance: Imbalance | None = None
    noise: Noise | None = None
    blur: Blur | None = None

    @model_validator(mode="after")
    def _disturbances_fit(self) -> Self:
        if self.different > self.tasks:
            raise ValueError(f"recurrence.different: must be at most the {self.tasks} tasks, got {self.different}")
        if self.blur is not None and (self.scenario == "task-il" or self.tasks == 1):
            rule = "is for several tasks, whose number no learner is told"
            raise ValueError(f"blur: {rule}, got scenario = {self.scenario} and tasks = {self.tasks}")
        return self

    @property
    def different(self) -> int:
        """How many tasks there are before they recur: all, where none does."""
        return self.tasks if self.recurrence is None else self.recurrence.different

    @property
    def conflicts(self) -> bool:
        """Whether a sample of one task has another right answer in another one, of which no learner is told."""
        return False

    def identity(self) -> dict[str, Any]:
        """Return what it says, without the optional keys that say nothing."""
        said = placeless(self.model_dump(mode="json"))
        return {key: value for key, value in said.items() if value is not None or key not in self.optional}

    @property
    def found(self) -> Any:
        """The data set that the stream is cut from; None where it makes its own samples."""
        return None


def _policy(text: str) -> str:
    if not re.fullmatch(r"full|seen|final|window:[1-9][0-9]*", text):
        raise PydanticCustomError("policy", "must be full, seen, final or window:K with K >= 1")
    return text


class Protocol(Closed):
    """How a stream is presented and measured."""

    batch: Annotated[int, Field(ge=1)]
    passes: Annotated[int, Field(ge=1)] = 1
    augment: Annotated[tuple[Literal["crop", "flip"], ...], Field(strict=False)] = ()
    """How images are changed as they are presented for training: cropped from a margin of four pixels, turned over."""
    evaluate: Annotated[str, AfterValidator(_policy)] = "full"
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    """Samples between evaluations within a task; None evaluates at task boundaries only."""
    boundaries: bool = False
    output_space: OutputSpace | None = None
    """None takes the scenario's own: `task` for task-il, otherwise `all`."""
    prequential: bool = False
    confusion: bool = False
    """Whether it is recorded at boundaries which labels got which answers."""
    task_aware: bool = False
    """Whether it is recorded at boundaries what would be right if only the task's own classes competed."""
    calibration: bool = False
    """Whether negative log-likelihood and calibration error are recorded at boundaries."""


DETAILS: Final = ("confusion", "task_aware", "calibration")
"""What is recorded only where it is asked for: no part of what a run is where it is not."""


class Check(Closed):
    """What the gate on forgetting allows: margins in each metric's own unit."""

    min_seeds: Annotated[int, Field(ge=2)] | None = None
    """None asks for ten seeds of a reference, and for as many as the reference has of what is judged against it."""
    average_accuracy: Annotated[float, Field(gt=0)] | None = None
    average_incremental_accuracy: Annotated[float, Field(gt=0)] | None = None
    learning_accuracy: Annotated[float, Field(gt=0)] | None = None
    forgetting: Annotated[float, Field(gt=0)] | None = None
    forgetting_first: Annotated[float, Field(gt=0)] | None = None
    forgetting_worst: Annotated[float, Field(gt=0)] | None = None
    min_accuracy: Annotated[float, Field(gt=0)] | None = None
    prequential_accuracy: Annotated[float, Field(gt=0)] | None = None


class StreamSpec(Closed):
    """A whole stream file."""

    title: str
    version: Annotated[int, Field(ge=1)] = 1
    """Raised when a shipped stream becomes another, so that `name@version` says which one is meant."""
    stream: Annotated[StreamConfig, KindOf("streams", StreamConfig)]
    protocol: Protocol
    check: Check = Check()

    @model_validator(mode="after")
    def _output_space_fits(self) -> StreamSpec:
        scenario, space = self.stream.scenario, self.protocol.output_space
        allowed = {"task-il": ("task",), "domain-il": ("all",), "class-il": ("all", "seen")}[scenario]
        if space is not None and space not in allowed:
            raise ValueError(f"protocol.output_space: must be {' or '.join(allowed)} in {scenario}, got {space}")
        return self

    @property
    def output_space(self) -> OutputSpace:
        """The logits that compete, with the scenario's default filled in."""
        return self.protocol.output_space or ("task" if self.stream.scenario == "task-il" else "all")

    def identity(self) -> dict[str, Any]:
        """Return what makes two streams of the same data the same: not how they are presented and measured."""
        return {"stream": self.stream.identity(), "output_space": self.output_space}

    def evaluation(self) -> dict[str, Any]:
        """Return how the stream is measured."""
        asked = {name for name in DETAILS if getattr(self.protocol, name)}
        return self.protocol.model_dump(mode="json", include={"evaluate", "evaluate_every", "prequential", *asked})
