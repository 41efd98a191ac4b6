"""What the checks of learners found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from nlbench.display.console import escape, line, out, write_json

if TYPE_CHECKING:
    from nlbench.conformance import Examination

_STYLES: Final = {"kept": "green", "broken": "bold red", "exempt": "yellow"}


def examinations(found: Iterable[Examination], as_json: bool) -> bool:
    """Return whether all passed, and print what each check found, with what to mend where a rule is broken: of each as it comes,
    or as JSON when all are there, one as it is and several as a list.
    """
    passed = True
    facts = []
    for each in found:
        passed = passed and each.passed
        if as_json:
            facts.append({**asdict(each), "passed": each.passed})
        else:
            _examination(each)
    if as_json:
        write_json(facts if len(facts) > 1 else facts[0])
    return passed


def _examination(found: Examination) -> None:
    out.print(f"[bold]{escape(found.model)}[/]  {escape(found.terms)}, a made stream of three tiny tasks", soft_wrap=True)
    widest = max(len(each.check) for each in found.findings)
    for each in found.findings:
        style = _STYLES.get(each.verdict, "dim")
        said = each.rule if each.verdict == "kept" else each.seen
        text = f"  {each.check:<{widest}}  [{style}]{each.verdict:<9}[/]  {escape(said)}"
        out.print(text, soft_wrap=True)
        if each.verdict == "broken":
            indent = " " * (widest + 15)
            out.print(f"{indent}rule: {escape(each.rule)}", soft_wrap=True)
            out.print(f"{indent}mend: {escape(each.mend)}", soft_wrap=True)
    count = len(found.broken)
    line("every rule is kept" if found.passed else f"{count} rule{'s are' if count > 1 else ' is'} broken")
    line("")
