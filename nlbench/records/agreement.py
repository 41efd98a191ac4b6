"""Whether what a footer says agrees with itself: its digests, made again from the declarations that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nlbench.errors import RecordError
from nlbench.metrics import CONTRADICT
from nlbench.records.footer import Execution, Footer, NotARecordError
from nlbench.specs import digest
from nlbench.specs.identity import FINGERPRINTED, fingerprint, stream_digest

_OF_PROTOCOL_1: Final = ("stream_spec", "data", "learner_spec", "learner_digest", "source_digest", "precision")
_OF_LATER: Final = (*FINGERPRINTED, "learner_digest")
_OF_THE_NEWEST: Final = tuple(name for name in Execution.model_fields if name not in ("seeds", "diverged"))
"""What stands at the top of a footer for the newest of its executions."""


def check_agreement(footer: Footer, path: Path) -> None:
    """Raise RecordError where a footer says one thing in one place and another in another: a digest, what a stream's declaration
    has too, what the newest execution ran on. And NotARecordError where something is missing that a digest is made of.
    """
    newest = footer.runs[-1]
    for name in _OF_THE_NEWEST:
        if getattr(footer, name) != getattr(newest, name):
            raise RecordError(f"{path}: {name} is not that of the newest execution in runs.")
    _check_declarations(footer, path)


def _check_declarations(footer: Footer, path: Path) -> None:
    """Of the oldest records of protocol 1, which have not all that their digests are made of, nothing is checked."""
    parts = _OF_PROTOCOL_1 if _counts_terms(footer) else _OF_LATER
    lacking = [name for name in parts if name not in footer.model_fields_set or getattr(footer, name) is None]
    if lacking and footer.protocol_version == 1 and footer.source_digest is None and not _counts_terms(footer):
        return
    if lacking:
        raise NotARecordError(f"{path}: {lacking[0]}: is required.")
    try:
        made = digests(footer)
    except ValueError:  # NaN or infinity, which no declaration holds
        raise RecordError(f"{path}: its declarations: must hold finite numbers only.") from None
    for name, expected in (made | _repeated(footer)).items():
        said = getattr(footer, name)
        if said != expected:
            raise RecordError(f"{path}: {name} is {said}, what it is made of gives {expected}.")
    if not footer.conflict and CONTRADICT in footer.null_metrics.values():
        raise RecordError(f"{path}: conflict is not said, a metric is null because tasks contradict each other.")


def _counts_terms(footer: Footer) -> bool:
    """Return whether a record counts terms to its stream, as those of protocol 1 do."""
    return isinstance(footer.stream_spec.get("protocol"), dict)


def digests(footer: Footer) -> dict[str, str]:
    """Return the digests that a footer's declarations give, by name."""
    if _counts_terms(footer):
        return _of_protocol_1(footer)
    return {
        "stream_digest": stream_digest(footer.stream_spec, footer.data),
        "learner_digest": digest(footer.learner_spec),
        "fingerprint": fingerprint({name: getattr(footer, name) for name in FINGERPRINTED}),
    }


def _of_protocol_1(footer: Footer) -> dict[str, str]:
    """Return the digests of a record that counts terms to its stream, and whose learner's batch may be the stream's."""
    stream: dict[str, Any] = {**footer.stream_spec, "data": footer.data}
    learner = footer.learner_spec
    if digest(learner) != footer.learner_digest:
        learner = {**learner, "batch": None}
    whole = {
        "protocol_version": footer.protocol_version,
        "stream": stream,
        "learner": learner,
        "source": footer.source_digest,
        "precision": footer.precision,
    }
    return {"stream_digest": digest(stream), "learner_digest": digest(learner), "fingerprint": digest(whole)}


def _repeated(footer: Footer) -> dict[str, Any]:
    """Return what the stream's declaration says that the footer says too, by the footer's name."""
    declared = footer.stream_spec.get("stream")
    said = declared if isinstance(declared, Mapping) else {}
    return {name: said[key] for name, key in (("scenario", "scenario"), ("n_tasks", "tasks")) if key in said}
