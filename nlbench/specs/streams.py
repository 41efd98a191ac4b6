"""Stream declarations: `tasks/<name>.toml` as frozen models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nlbench.specs.model import Closed, digest
from nlbench.specs.sources import SOURCES, SourceName

Scenario = Literal["task-il", "domain-il", "class-il"]
OutputSpace = Literal["all", "seen", "task"]


class Split(Closed):
    """Classes dealt out to tasks: `classes / tasks` of them each."""

    kind: Literal["split"]
    source: SourceName
    tasks: Annotated[int, Field(ge=1)]
    scenario: Scenario = "class-il"
    class_order: Literal["natural", "seed"] = "natural"
    train_quota: Annotated[int, Field(ge=1)] | None = None
    test_quota: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _divides(self) -> Split:
        classes = SOURCES[self.source].n_classes
        if classes % self.tasks:
            raise ValueError(f"tasks: must divide the {classes} classes of {self.source}, got {self.tasks}")
        if self.class_order == "seed" and (self.train_quota is None or self.test_quota is None):
            raise ValueError(
                'class_order: "seed" needs train_quota and test_quota (samples per class), so that all seeds have equal tasks'
            )
        return self


class Permuted(Closed):
    """Every task is the whole data set seen through its own fixed pixel permutation, the first task included; samples are
    pixel vectors.
    """

    kind: Literal["permuted"]
    source: SourceName
    tasks: Annotated[int, Field(ge=1)] = 10
    scenario: Scenario = "domain-il"


class Rotated(Closed):
    """Task i is the whole data set rotated by (i - 1) * degrees, bilinear; the first task is upright."""

    kind: Literal["rotated"]
    source: SourceName
    tasks: Annotated[int, Field(ge=1)] = 10
    degrees: Annotated[float, Field(gt=0, lt=360)] = 18.0
    scenario: Scenario = "domain-il"


class Arrays(Closed):
    """Tasks given as arrays through the Python interface; `checksum` identifies their contents."""

    kind: Literal["arrays"]
    checksum: str
    tasks: Annotated[int, Field(ge=1)]
    scenario: Scenario = "class-il"


class Protocol(Closed):
    """How a stream is presented and measured."""

    batch: Annotated[int, Field(ge=1)]
    passes: Annotated[int, Field(ge=1)] = 1
    evaluate: Annotated[str, Field(pattern=r"^(full|seen|final|window:[1-9][0-9]*)$")] = "full"
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    """Samples between evaluations within a task; None evaluates at task boundaries only."""
    boundaries: bool = False
    output_space: OutputSpace | None = None
    """None takes the scenario's own: `task` for task-il, otherwise `all`."""
    prequential: bool = False


class Check(Closed):
    """What the gate on forgetting allows: margins in each metric's own unit."""

    min_seeds: Annotated[int, Field(ge=2)] = 5
    average_accuracy: Annotated[float, Field(gt=0)] | None = None
    average_incremental_accuracy: Annotated[float, Field(gt=0)] | None = None
    learning_accuracy: Annotated[float, Field(gt=0)] | None = None
    forgetting: Annotated[float, Field(gt=0)] | None = None
    forgetting_first: Annotated[float, Field(gt=0)] | None = None
    forgetting_worst: Annotated[float, Field(gt=0)] | None = None
    min_accuracy: Annotated[float, Field(gt=0)] | None = None


class StreamSpec(Closed):
    """A whole stream file."""

    title: str
    stream: Annotated[Split | Permuted | Rotated | Arrays, Field(discriminator="kind")]
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

    @property
    def data(self) -> dict[str, str]:
        """Checksums of the data the stream is cut from, by source."""
        if isinstance(self.stream, Arrays):
            return {"arrays": self.stream.checksum}
        return {self.stream.source: SOURCES[self.stream.source].checksum}

    def identity(self) -> dict[str, Any]:
        """Return what makes two streams the same: everything but the title and the gate's margins."""
        return {
            "stream": self.stream.model_dump(mode="json"),
            "protocol": self.protocol.model_dump(mode="json"),
            "data": self.data,
        }

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of `identity`."""
        return digest(self.identity())
