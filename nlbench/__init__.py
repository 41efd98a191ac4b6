"""nlbench: continual learning measured honestly and fast, with an accelerated nested-learning core."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlbench.api import Run, check, compare, load, resolve, run, stream_from_arrays
    from nlbench.batch import Batch, Batches, Learner, Problem
    from nlbench.errors import NlbenchError

__version__ = "0.1.0"

_PLACES = {
    "Batch": "batch",
    "Batches": "batch",
    "Learner": "batch",
    "Problem": "batch",
    "NlbenchError": "errors",
    "Run": "api",
    "check": "api",
    "compare": "api",
    "load": "api",
    "resolve": "api",
    "run": "api",
    "stream_from_arrays": "api",
}

__all__ = [
    "Batch",
    "Batches",
    "Learner",
    "NlbenchError",
    "Problem",
    "Run",
    "__version__",
    "check",
    "compare",
    "load",
    "resolve",
    "run",
    "stream_from_arrays",
]


def __getattr__(name: str) -> Any:
    """Resolve public names on first use, so that importing a reader never imports torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'nlbench' has no attribute {name!r}")
    value = getattr(import_module(f"nlbench.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
