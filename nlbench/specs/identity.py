"""What a stream is, and what decides a run's numbers: plain facts and their digests, the same when planned and when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nlbench.specs.model import digest

FINGERPRINTED: Final = (
    "protocol_version",
    "stream_spec",
    "data",
    "terms",
    "evaluation",
    "learner_spec",
    "code",
    "precision",
)
"""The facts of a run that decide its numbers. Not its names, seeds, backend, device, threads and versions."""


def placeless(value: Any) -> Any:
    """Return a declaration in which `./folder/file.py:Name` is `file.py:Name`: its contents identify a file, wherever it lies."""
    if isinstance(value, dict):
        return {key: placeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [placeless(item) for item in value]
    if isinstance(value, str) and ".py:" in value:
        return value.replace("\\", "/").rpartition("/")[2]
    return value


def stream_digest(stream_spec: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """Return the digest of what a stream is: its kind, tasks, scenario, classes and output space, and its data."""
    return digest({"stream_spec": stream_spec, "data": data})


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return the digest of what decides a run's numbers; `facts` are those a record's footer says."""
    return digest({key: facts[key] for key in FINGERPRINTED})
