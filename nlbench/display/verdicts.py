"""The gate's judgements."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.text import Text

from nlbench import gate
from nlbench.display.console import line, out
from nlbench.gate import Judgement, Update

VERDICT_STYLES = {"ok": "bold blue", "better": "bold blue", "worse": "bold #e66101"}
"""Passing and failing verdicts; what cannot be judged is bold alone."""


def judgements(found: Sequence[Judgement], as_json: bool) -> None:
    """Print the gate's judgements; on GitHub, annotate too."""
    if as_json:
        sys.stdout.write(gate.to_json(found) + "\n")
        return
    for judgement in found:
        for text in gate.to_text(judgement).splitlines():
            words = text.split(maxsplit=1)
            verdict = words[0] if words and text.startswith(" ") else ""
            out.print(
                Text(text, style=VERDICT_STYLES.get(verdict, "bold" if verdict not in ("", "changed") else "")), soft_wrap=True
            )
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for annotation in gate.to_annotations(found):
            sys.stdout.write(annotation + "\n")  # is one of GitHub's commands, as no line of a record may be


def updates(found: Sequence[Update]) -> None:
    """Print what became of each record as a reference."""
    for one in found:
        line(f"{one.reference}: {'written' if one.written else 'kept'}: {one.reason}")
