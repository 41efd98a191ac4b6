"""A judgement as text, Markdown, JUnit XML, GitHub annotations and JSON; pure strings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from nlbench import escaping
from nlbench.errors import NlbenchError
from nlbench.gate.model import PASSED, Finding, Judgement, exit_status
from nlbench.records.facts import Difference

_SUMMARY: Final = {0: "passed", 1: "worse than the reference", 2: "cannot be judged"}
_MOST_CHANGES: Final = 20


def to_text(judgement: Judgement) -> str:
    """Return the judgement as plain lines: what was compared, what was found, what else differs."""
    lines = [f"{_title(judgement)}: {_SUMMARY[judgement.exit_status]}", *_provenance(judgement)]
    lines += [f"{finding.verdict:>16}  {_line(finding)}" for finding in judgement.findings]
    return "\n".join([*lines, *(f"         changed  {change}" for change in judgement.changed)])


def to_markdown(judgements: Sequence[Judgement]) -> str:
    """Return the judgements for a job summary."""
    blocks = []
    for judgement in judgements:
        header = "| metric | verdict | record | reference | degradation | bounds | margin | seeds |"
        lines = [f"### {escaping.markdown(_title(judgement))}: {_SUMMARY[judgement.exit_status]}", ""]
        lines += [*map(escaping.markdown, _provenance(judgement)), ""]
        lines += [header, "|" + "---|" * (header.count("|") - 1)]
        lines += ["| " + " | ".join(map(escaping.markdown, _cells(finding))) + " |" for finding in judgement.findings]
        lines += ["", *(f"- {escaping.markdown(_line(finding))}" for finding in judgement.findings)]
        if judgement.changed:
            shown = [_change(change) for change in judgement.changed[:_MOST_CHANGES]]
            rest = len(judgement.changed) - len(shown)
            lines += [
                "",
                "Changed since the reference (record / reference):",
                "",
                *shown,
                *([f"- and {rest} more"] if rest else []),
            ]
        blocks.append("\n".join([*lines, ""]))
    return "\n".join(blocks)


def _change(change: Difference) -> str:
    field = escaping.printable(change.field).replace("`", "'")
    return f"- `{field}`: {escaping.markdown(f'{change.first} / {change.second}')}"


def to_junit(judgements: Sequence[Judgement]) -> str:
    """Return JUnit XML: a suite a record, a case a metric; `worse` is a failure, what cannot be judged an error."""
    root = ElementTree.Element("testsuites", name="nlbench check")
    for judgement in judgements:
        verdicts = [finding.verdict for finding in judgement.findings]
        failures = verdicts.count("worse")
        errors = sum(verdict not in PASSED for verdict in verdicts) - failures
        counts = {"tests": str(len(verdicts)), "failures": str(failures), "errors": str(errors)}
        title = escaping.printable(_title(judgement))
        suite = ElementTree.SubElement(root, "testsuite", {"name": title, **counts})
        for finding in judgement.findings:
            case = ElementTree.SubElement(suite, "testcase", classname=title, name=finding.metric or "record")
            if finding.verdict not in PASSED:
                kind = "failure" if finding.verdict == "worse" else "error"
                ElementTree.SubElement(case, kind, type=finding.verdict, message=escaping.printable(_explain(finding)))
        ElementTree.SubElement(suite, "system-out").text = to_text(judgement)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_annotations(judgements: Sequence[Judgement]) -> list[str]:
    """Return GitHub workflow commands, one a finding that did not pass."""
    found = [(judgement, finding) for judgement in judgements for finding in judgement.findings if finding.verdict not in PASSED]
    titles = [escaping.github(f"{_title(judgement)}: {finding.verdict}", property=True) for judgement, finding in found]
    return [
        f"::error title={title}::{escaping.github(_line(finding))}" for title, (_, finding) in zip(titles, found, strict=True)
    ]


def to_json(judgements: Sequence[Judgement]) -> str:
    """Return everything as JSON."""
    plain = [
        {
            **_plain(judgement),
            "exit_status": judgement.exit_status,
            "findings": [_plain(finding) for finding in judgement.findings],
            "changed": [change._asdict() for change in judgement.changed],
        }
        for judgement in judgements
    ]
    facts = {"exit_status": exit_status(judgements), "judgements": plain}
    return escaping.json_text(json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False))


def write_reports(judgements: Sequence[Judgement], *, junit: Path | None = None, markdown: Path | None = None) -> None:
    """Write JUnit XML, and append Markdown, where asked. Raises NlbenchError where a file cannot be written."""
    if junit is not None:
        _write(junit, to_junit(judgements))
    if markdown is not None:
        _write(markdown, to_markdown(judgements), append=True)


def _write(path: Path, text: str, *, append: bool = False) -> None:
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise NlbenchError(f"{path}: cannot be written: {error.strerror}.") from None


def _plain(instance: Any) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in instance.__slots__}


def _title(judgement: Judgement) -> str:
    return f"{judgement.model} on {judgement.stream}" if judgement.model else str(judgement.record or judgement.reference)


def _provenance(judgement: Judgement) -> list[str]:
    lines = [f"record {judgement.record or 'none'}, reference {judgement.reference or 'none'}"]
    lines += [f"not judged, because it is older: {path}" for path in judgement.older]
    if judgement.accuracies:
        lines.append(", ".join(_beside(name, **beside) for name, beside in judgement.accuracies.items()))
    return lines


def _beside(name: str, *, mean: float | None, chance: float | None) -> str:
    accuracy, constant = ("unknown" if value is None else f"{value:.3f}" for value in (mean, chance))
    return f"{name.replace('_', ' ')} {accuracy} (chance {constant})"


def _explain(finding: Finding) -> str:
    if finding.verdict != "undecided":
        return finding.reason
    more = "more than 1,000 seeds" if finding.seeds_to_decide is None else f"about {finding.seeds_to_decide} seeds"
    return f"{finding.reason} Differences such as these need {more}."


def _line(finding: Finding) -> str:
    return f"{finding.metric or 'record'}: {_explain(finding)}"


def _cells(finding: Finding) -> list[str]:
    def number(value: float | None, spec: str) -> str:
        return "–" if value is None else format(value, spec)

    return [
        finding.metric or "record",
        finding.verdict,
        number(finding.record_mean, ".4f"),
        number(finding.reference_mean, ".4f"),
        number(finding.degradation, "+.4f"),
        "–" if finding.low is None else f"{finding.low:+.4f} … {finding.high:+.4f}",
        number(finding.margin, "g"),
        "–" if finding.seeds is None else f"{finding.seeds}{' pairs' if finding.paired else ''}",
    ]
