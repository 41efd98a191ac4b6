"""What may disturb the tasks of any kind of stream: tables of `[stream]`, each left out by default. They apply in this order:
tasks recur, samples are dropped, labels are wrong, boundaries blur. Only training sets are disturbed; test sets stay as they are.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nlbench.specs.model import Closed


class Recurrence(Closed):
    """`[stream.recurrence]`: tasks come back. Of `tasks` tasks the first `different` differ, and then they begin anew."""

    different: Annotated[int, Field(ge=1)]


class Imbalance(Closed):
    """`[stream.imbalance]`: a long tail. Of label k (or of task k), from 0, of K, a share of ratio^(-k / (K - 1)) of the training
    samples is kept, at least one; each seed draws its own.
    """

    ratio: Annotated[float, Field(gt=1)]
    """How many times as many the first has as the last."""
    across: Literal["labels", "tasks"] = "labels"


class Noise(Closed):
    """`[stream.noise]`: wrong labels. This share of each task's training samples has another label of the task, each as likely,
    drawn by the seed.
    """

    share: Annotated[float, Field(gt=0, lt=1)]


class Blur(Closed):
    """`[stream.blur]`: training sets that mix tasks, each sample shown once. One of:

    share  of each task's samples, this share is shown in the other tasks' turns, as many in each
    width  boundaries are sigmoids: n samples after one, the next task's share is 1 / (1 + exp(-n / (width * samples of a task)))
    """

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    width: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Blur:
        if (self.share is None) == (self.width is None):
            raise ValueError("share: it or width must be given, and not both")
        return self
