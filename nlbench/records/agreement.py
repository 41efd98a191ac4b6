"""Whether what a footer says agrees with itself: its digests, made again from the declarations that stand beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from nlbench.errors import RecordError
from nlbench.records.footer import Footer
from nlbench.specs import digest
from nlbench.specs.identity import FINGERPRINTED, fingerprint, stream_digest

_OF_PROTOCOL_1: Final = frozenset({"stream_spec", "data", "learner_spec", "learner_digest", "source_digest", "precision"})


def check_digests(footer: Footer, path: Path) -> None:
    """Raise RecordError where a digest is not that of the declarations beside it. What a footer does not say whole is let be."""
    try:
        made = _made(footer)
    except ValueError:  # NaN or infinity, which no declaration holds
        raise RecordError(f"{path}: its declarations: must hold finite numbers only.") from None
    for name, expected in made.items():
        said = getattr(footer, name)
        if said != expected:
            raise RecordError(f"{path}: {name} is {said}, what it is made of gives {expected}.")


def _made(footer: Footer) -> dict[str, str]:
    """Return the digests that a footer's declarations give, by name."""
    said = footer.model_fields_set
    if isinstance(footer.stream_spec.get("protocol"), dict):
        return _of_protocol_1(footer) if said >= _OF_PROTOCOL_1 else {}
    if not said >= set(FINGERPRINTED):
        return {}
    facts = {name: getattr(footer, name) for name in FINGERPRINTED}
    made = {"stream_digest": stream_digest(footer.stream_spec, footer.data), "fingerprint": fingerprint(facts)}
    return made if footer.learner_digest is None else {**made, "learner_digest": digest(footer.learner_spec)}


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
