"""Stream declarations: `tasks/<name>.toml` as frozen models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from nlbench.specs.identity import placeless
from nlbench.specs.kinds import KindOf
from nlbench.specs.model import Closed

Scenario = Literal["task-il", "domain-il", "class-il"]
OutputSpace = Literal["all", "seen", "task"]


class StreamConfig(Closed):
    """What every kind of stream says; the config of a kind adds its own keys."""

    kind: str
    tasks: Annotated[int, Field(ge=1)]
    scenario: Scenario = "class-il"

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
    evaluate: Annotated[str, AfterValidator(_policy)] = "full"
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    """Samples between evaluations within a task; None evaluates at task boundaries only."""
    boundaries: bool = False
    output_space: OutputSpace | None = None
    """None takes the scenario's own: `task` for task-il, otherwise `all`."""
    prequential: bool = False


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


class StreamSpec(Closed):
    """A whole stream file."""

    title: str
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
        return {"stream": placeless(self.stream.model_dump(mode="json")), "output_space": self.output_space}

    def evaluation(self) -> dict[str, Any]:
        """Return how the stream is measured."""
        return self.protocol.model_dump(mode="json", include={"evaluate", "evaluate_every", "prequential"})
