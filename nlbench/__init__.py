"""nlbench: continual learning measured honestly and fast, with an accelerated nested-learning core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlbench import lazy

if TYPE_CHECKING:
    from nlbench import api as api
    from nlbench import seeds as seeds
    from nlbench.api import Run, check, check_learner, compare, load, load_learner, resolve, run, stream_from_arrays
    from nlbench.batch import Batch, Batches, Learner, Problem
    from nlbench.errors import NlbenchError
    from nlbench.learners.buffer import Buffer
    from nlbench.streams.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Batches",
    "Buffer",
    "Learner",
    "NlbenchError",
    "Problem",
    "Run",
    "Stream",
    "__version__",
    "check",
    "check_learner",
    "compare",
    "load",
    "load_learner",
    "resolve",
    "run",
    "stream_from_arrays",
]

__getattr__ = lazy.names(
    __name__,
    {
        **dict.fromkeys(("Batch", "Batches", "Learner", "Problem"), "batch"),
        "api": "api",
        "seeds": "seeds",
        "Buffer": "learners.buffer",
        "Stream": "streams.stream",
        "NlbenchError": "errors",
        **dict.fromkeys(("Run", "resolve", "run", "stream_from_arrays"), "api.running"),
        "check_learner": "api.conformance",
        "load_learner": "api.learners",
        **dict.fromkeys(("check", "compare", "load"), "api.reading"),
    },
)
