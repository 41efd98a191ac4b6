"""Learner declarations: `baselines/<name>.toml` as a frozen model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from nlbench.specs.identity import placeless
from nlbench.specs.kinds import KindOf
from nlbench.specs.model import Closed, digest

PositiveInt = Annotated[int, Field(ge=1)]


class LearnerSpec(Closed):
    """A recipe as it applies to one stream: its `[on."<stream>"]` table already merged in."""

    name: str
    title: str = ""
    learner: Annotated[Closed, KindOf("learners")]
    presents: Literal["sequential", "cumulative", "accumulated"] = "sequential"
    """`cumulative` retrains from the same start on all tasks so far before every row: the joint bound; `accumulated` goes on from
    where it stands.
    """
    role: Literal["naive", "joint", "reset"] | None = None
    """What it stands for where learners are compared: plain fine-tuning, the joint bound, or one that starts anew at every task;
    not part of the identity."""
    batch: PositiveInt | None = None
    """Overrides the stream's batch; None keeps it."""
    passes: PositiveInt | None = None
    """Overrides how often the stream presents each training set; None keeps it. `--set protocol.passes` has the last word."""
    boundaries: bool | None = None
    """Overrides whether the learner is told that a task ended; None keeps it. `--set protocol.boundaries` has the last word."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """Where each value comes from; not part of the identity."""

    def identity(self) -> dict[str, Any]:
        """Return what makes two learners the same: not name, title and provenance, nor batch, passes and boundaries,
        which are of the terms.
        """
        return {"learner": placeless(self.learner.model_dump(mode="json")), "presents": self.presents}

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of `identity`."""
        return digest(self.identity())
