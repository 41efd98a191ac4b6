"""The command that makes a record again, and whether it still makes the same one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from nlbench.errors import NlbenchError
from nlbench.plan import Plan, resolve
from nlbench.records import Record
from nlbench.records.facts import flatten

_OPTIONS: Final = "learner.options."  # an external learner's own values: written `learner.<name>` in a recipe


class Rerun(NamedTuple):
    """A command line, and what must be known before trusting that it gives the same numbers."""

    command: str
    remark: str


def rerun(record: Record) -> Rerun:
    """Return the command that runs the record's learner on its stream again, today's declarations --set to what was recorded.

    The remark says whether that resolves to the record's fingerprint, and if not, which part of it differs. Cost: milliseconds.
    """
    said = record.footer
    model = said.learner_kind if ":" in said.learner_kind else record.model
    overrides: dict[str, str] = {}

    def planned() -> Plan:
        return resolve(model, record.stream, seeds=record.seeds, overrides=overrides, precision=said.precision)

    try:
        # the stream first: a learner's batch is the stream's unless it has its own
        for name, recorded in (("stream_spec", said.stream_spec), ("learner_spec", said.learner_spec)):
            overrides |= _overrides(planned().describe()[name], recorded)
        remark = _remark(record, planned())
    except NlbenchError as error:
        remark = f"Not reconstructed from today's declarations: {error}"
    words = ["nlbench", "run", "--model", model, "--stream", record.stream, "--seeds", seeds_text(record.seeds)]
    if said.precision != "float32":
        words += ["--precision", said.precision]
    for key, value in overrides.items():
        words += ["--set", f"{key}={value}"]
    return Rerun(shlex.join(words), remark)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return the seeds as `--seeds` takes them."""
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _overrides(declared: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, str]:
    """Return the `--set` values that turn what is declared today into what was recorded; null cannot be set."""
    today, then = flatten(declared), flatten(recorded)
    changed = {
        key: value for key, value in then.items() if value is not None and today.get(key) != value and key != "source_digest"
    }
    return {
        key.replace(_OPTIONS, "learner."): value if isinstance(value, str) else json.dumps(value)
        for key, value in changed.items()
    }


def _remark(record: Record, planned: Plan) -> str:
    if planned.fingerprint == record.fingerprint:
        return "Same fingerprint with this version: the same numbers, to rounding."
    then, now = record.footer, planned.describe()
    parts = {
        "protocol_version": "the protocol",
        "stream_digest": "the stream's declaration",
        "data": "the data",
        "learner_digest": "the learner's declaration",
        "source_digest": "the code that runs",
    }
    differing = [text for key, text in parts.items() if getattr(then, key) != now[key]]
    commit = then.environment.commit
    where = f" It was made at commit {commit[:12]}." if commit else ""
    return f"Another fingerprint with this version: {', '.join(differing) or 'something'} changed since.{where}"
