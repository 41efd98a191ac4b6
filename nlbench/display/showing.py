"""Declarations and records, each in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.syntax import Syntax
from rich.table import Table

from nlbench import escaping
from nlbench.api.showing import Declaration
from nlbench.display.console import escape, flat, lay_out, out, write_json
from nlbench.display.records import plain, record
from nlbench.records import Record


def show(found: Sequence[Declaration | Record], as_json: bool) -> None:
    """Print declarations, and records with their provenance; as JSON, one as it is and several as a list."""
    if as_json:
        facts = [_plain(one) for one in found]
        write_json(facts if len(facts) > 1 else facts[0])
        return
    for one in found:
        if isinstance(one, Declaration) and not out.is_terminal:  # a file of it declares the same
            out.print(f"# {escaping.terminal(one.name)}, a {one.kind}\n{one.text}", markup=False, soft_wrap=True)
        elif isinstance(one, Declaration):
            needs = ", needs " + ", ".join(one.needs) if one.needs else ""
            out.print(f"[dim]{one.kind}[/] [bold]{escape(one.name)}[/]{needs}")
            out.print(Syntax(one.text, "toml", background_color="default", word_wrap=True))
        else:
            record(one)
            _provenance(one)


def _plain(one: Declaration | Record) -> dict[str, Any]:
    if isinstance(one, Declaration):
        needs = {"needs": list(one.needs)} if one.needs else {}
        return {"kind": one.kind, "name": one.name, "declaration": dict(one.table), **needs}
    return {**plain(one), "metadata": one.footer.facts()}


def _provenance(found: Record) -> None:
    grid = Table(title="provenance", title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column()
    for key, value in sorted(flat(found.footer.facts(without={"runs"}))):
        grid.add_row(escape(key), escape(str(value)))
    out.print()
    lay_out(out, grid)
