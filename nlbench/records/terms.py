"""The terms a record was made under and how it was measured, also where an older record says them elsewhere.

Records of protocol 1 say presentation and measurement as part of their stream, and count both into its digest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from nlbench.metrics import Metric
from nlbench.records.facts import varying
from nlbench.records.footer import Footer
from nlbench.specs.identity import stream_digest

NAMES: Final = ("passes", "batch", "boundaries", "augment")
_DEFAULTS: Final = {"task-il": "task", "domain-il": "all", "class-il": "all"}


def terms(footer: Footer) -> dict[str, Any]:
    """Return how the learner was presented its samples: passes, batch, boundaries told, images changed; what is
    not known is left out.
    """
    protocol = footer.stream_spec.get("protocol")
    said = footer.terms
    if isinstance(protocol, dict):
        said = {**protocol, "batch": footer.learner_spec.get("batch") or protocol.get("batch")}
    return {name: said[name] for name in NAMES if said.get(name) is not None}


def evaluation(footer: Footer) -> dict[str, Any]:
    """Return which tasks were measured at boundaries (`evaluate`) and how often within tasks (`evaluate_every`, in samples)."""
    protocol = footer.stream_spec.get("protocol")
    if not isinstance(protocol, dict):
        return dict(footer.evaluation)
    return {name: protocol.get(name) for name in ("evaluate", "evaluate_every", "prequential")}


def stream(footer: Footer) -> dict[str, Any]:
    """Return what the stream is, without how it was presented and measured."""
    protocol = footer.stream_spec.get("protocol")
    if not isinstance(protocol, dict):
        return dict(footer.stream_spec)
    space = protocol.get("output_space") or _DEFAULTS.get(footer.scenario)
    return {"stream": footer.stream_spec.get("stream"), "output_space": space}


def digest_of_stream(footer: Footer) -> str:
    """Return the digest of what the stream is; of an older record, as it would be today."""
    if not isinstance(footer.stream_spec.get("protocol"), dict):
        return footer.stream_digest
    return stream_digest(stream(footer), footer.data)


def measured_unequally(metric: Metric, first: Footer, second: Footer) -> str:
    """Return how two records measured within tasks where that differs and the metric depends on it; otherwise nothing."""
    every = [evaluation(footer).get("evaluate_every") for footer in (first, second)]
    if metric.needs != "accuracy_within" or every[0] == every[1]:
        return ""
    return f"measured every {every[0]} / {every[1]} samples"


def unequal(several: Sequence[Mapping[str, Any]]) -> str:
    """Return in what several terms differ, such as `passes 1 and 4, batch 16 and 32`; nothing where they are equal."""
    values = {name: dict.fromkeys(_value(one.get(name)) for one in several) for name in varying(several)}
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items())


def text(terms: Mapping[str, Any], names: Collection[str] | None = None) -> str:
    """Return the terms, or the named ones of them, in a few words: `passes 1, batch 16, boundaries told`."""
    return ", ".join(f"{name} {_value(terms.get(name))}" for name in (terms if names is None else names))


def _value(value: object) -> str:
    return {True: "told", False: "not told"}[value] if isinstance(value, bool) else "–" if value is None else str(value)
