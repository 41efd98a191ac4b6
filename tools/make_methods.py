"""Write docs/methods.md: every learner of the catalog, where it comes from, what it is told and what it stores.

    python tools/make_methods.py

A row is made of the catalog's and of the file of the learner: the first line of its docstring, and its `Source:`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from nlbench import catalog

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
FAMILIES = {
    "bounds": "Bounds and plain learning",
    "replay": "Stored samples",
    "generative": "Generated samples",
    "penalties": "Penalties",
    "projections": "Projected gradients",
    "isolation": "Weights of a task's own",
    "plasticity": "Plasticity",
    "analytic": "Analytic read-outs of features",
    "hope": "Nested learning: HOPE",
    "projected": "Nested learning: HOPE",
}
"""A package of learners -> its heading; those of no package are bounds, or nested learning."""

NESTED = ("cms", "levels")

INTRODUCTION = """# Methods

<!-- made by tools/make_methods.py -->

Each is a learner of the catalog, `learner.kind = "<name>"` in a recipe, and most have a recipe of the same name:
`nlbench run --model er --stream split-digits`. A *method* knows no network: those that learn by gradients take any of
`[learner.network]`, any optimizer of `[learner.optimizer]`, all seeds at once. The file of each has its equations and cost.
`--set 'learner.schedule={ kind = "cosine", steps = 94, warm_up = 10 }'` changes the rate in cycles of so many steps, such as a
task's batches; `constant` and `step` are the other kinds. `--set learner.optimizer.kind=adam` starts that table anew: Adam's own
values, none of the recipe's optimizer, unless you set them beside.

**Told** is what a run must tell it beside batches of samples and labels: that a task ended, or whose a sample is
(`--set stream.scenario=task-il`). Its recipe says `boundaries = true`, so that a run tells it when a task ends; a learner of your
own is told with `--set protocol.boundaries=true`. Either way it is a term of the run, shown beside every number.
**Stores** is what it keeps beside its network; records say how many bytes.
"""


def page() -> str:
    """Return the page."""
    rows = sorted(((list(FAMILIES).index(family(kind)), kind) for kind in catalog.LEARNERS), key=lambda row: row[0])
    parts = [INTRODUCTION]
    for heading, group in groupby(rows, key=lambda row: list(FAMILIES.values())[row[0]]):
        table = ["| name | what it does | source | told | stores |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {heading}\n", *table, *lines([kind for _, kind in group])]) + "\n")
    return "\n".join(parts)


def family(kind: str) -> str:
    """Return the package of a learner."""
    package = catalog.LEARNERS[kind].place.split(":")[0].split(".")[2]
    return package if package in FAMILIES else ("hope" if kind in NESTED else "bounds")


def lines(kinds: list[str]) -> Iterator[str]:
    """Yield a row for each file of these learners."""
    for place, group in groupby(kinds, key=lambda kind: catalog.LEARNERS[kind].place.split(":")[0]):
        names = list(group)
        text = (ROOT / f"{place.replace('.', '/')}.py").read_text(encoding="utf-8")
        title = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(".")
        told = sorted({need for name in names for need in catalog.needs(name)})
        stored = sorted({keeps for name in names if (keeps := catalog.keeps(name))})
        cells = [", ".join(f"`{name}`" for name in names), title, source(text), ", ".join(told), "; ".join(stored)]
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def source(text: str) -> str:
    """Return the first source that a file names, without where in it; "" of none."""
    found = re.search(r"Source: ((?:et\sal\.|[^.;]){,90}?\b(?:19|20)\d\d(?: \([^)]*\))?)", text)
    return " ".join(found[1].split()) if found else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
