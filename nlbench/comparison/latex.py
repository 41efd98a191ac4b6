"""A comparison's tables as LaTeX that a paper takes in: booktabs and nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from statistics import fmean
from typing import Final

import numpy as np

from nlbench import escaping
from nlbench.comparison.model import Group, Table
from nlbench.comparison.statistics import t_test
from nlbench.metrics import METRICS

ARROWS: Final = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}
_MINUS: Final = re.compile(r"(?<![\w.])-(?=\d)")
"""The sign of a number, which LaTeX's text would set as a hyphen."""
ALPHA: Final = 0.05


def best(group: Group) -> set[tuple[str, str]]:
    """Return (learner, metric) of the best mean of each metric shown, and of those that a paired t test on common seeds does not
    tell from it: p at least .05, two-sided, not corrected.
    """
    found = set()
    for metric in group.columns:
        sign = 1 if METRICS[metric].better == "higher" else -1
        known = {entry.label: values for entry in group.entries if (values := entry.record.measured(metric))}
        if len(known) < 2:
            continue
        top = max(known, key=lambda label: sign * fmean(known[label].values()))
        found.add((top, metric))
        for label, values in known.items():
            common = sorted(values.keys() & known[top].keys())
            if len(common) > 1 and t_test(np.array([values[seed] - known[top][seed] for seed in common])) >= ALPHA:
                found.add((label, metric))
    return found


BOLD: Final = "Bold: the best mean, and what a paired t test does not tell from it (p at least .05)."


def table(shown: Table, bold: Collection[tuple[str, str]] = (), notes: Sequence[str] = ()) -> str:
    """Return a table as a `tabular`; cells (first column, header) in `bold` are bold, and a metric's header says which way is
    better. Below it stand `notes`, and what bold means.
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    def row(cells: Sequence[str]) -> str:
        texts = [_MINUS.sub("$-$", escaping.latex(cell)) for cell in cells]
        marked = [(cells[0], column) in bold for column in shown.header]
        return line([rf"\textbf{{{text}}}" if is_bold else text for text, is_bold in zip(texts, marked, strict=True)])

    header = [
        escaping.latex(column.replace("_", " ")) + (ARROWS[METRICS[column].better] if column in METRICS else "")
        for column in shown.header
    ]
    said = [*notes, *([BOLD] if any(column in shown.header for _, column in bold) else [])]
    below = ["", rf"{{\footnotesize {' '.join(map(escaping.latex, said))}\par}}"] if said else []
    return "\n".join(
        [
            f"% {escaping.printable(shown.title)}",
            rf"\begin{{tabular}}{{{'l' + 'r' * (len(shown.header) - 1)}}}",
            r"\toprule",
            line(header),
            r"\midrule",
            *map(row, shown.rows),
            *([r"\midrule", *map(row, shown.foot)] if shown.foot else []),
            r"\bottomrule",
            r"\end{tabular}",
            *below,
            "",
        ]
    )
