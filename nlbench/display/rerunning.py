"""A record made again: its command, and whether its numbers hold."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from nlbench.display.console import lay_out, line, note, out, seeds_text, write_json

if TYPE_CHECKING:
    from nlbench.api.rerunning import Rerun, Rerunning
    from nlbench.comparison.reproduction import Deviation


def command(found: Rerun, as_json: bool) -> None:
    """Print the command that makes a record again."""
    if as_json:
        write_json({"command": found.command, "remark": found.remark})
        return
    line(found.command)
    note(found.remark)
    if found.in_python:
        return
    if found.plan is None:
        note("--compare runs it again where --model or --stream names what is not the package's own")
    else:
        note("--compare runs it again and says whether the numbers hold")


def compared(done: Rerunning, as_json: bool) -> None:
    """Print whether the numbers of a record hold, and how sure that is."""
    if as_json:
        write_json(_facts(done))
        return
    found, record = done.found, done.record
    line(f"{record.model} on {record.stream}, {seeds_text(found.seeds)} run again: {found.sameness}, {found.values:,} values")
    for fact in found.facts:
        line(f"  different  {fact} (record / again)")
    if found.deviations:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("seed", "metric", "differing", "by at most", ""):
            grid.add_column(column, justify="left" if column in ("metric", "") else "right")
        for one in found.deviations:
            said = "rounding" if one.rounding else "different"
            grid.add_row(str(one.seed), one.metric, f"{one.differing} of {one.of}", f"{one.largest:.3g}", said)
        lay_out(out, grid)
    for difference in done.changed:
        note(f"changed  {difference} (record / again)")
    if not done.same_run:
        note(done.remark)
    if done.chance < 1:
        drawn = "" if done.drawn else ", had they been drawn: --seeds with a number draws them"
        note(f"one altered seed would be among these with probability {done.chance:.2g}{drawn}; --seeds all leaves none out")


def _facts(done: Rerunning) -> dict[str, Any]:
    found = done.found
    return {
        "record": str(done.record.path),
        "command": done.command,
        "sameness": found.sameness,
        "same_run": done.same_run,
        "exit_status": done.exit_status,
        "seeds": list(found.seeds),
        "drawn": done.drawn,
        "chance": done.chance,
        "values": found.values,
        "facts": list(found.facts),
        "deviations": [_plain(one) for one in found.deviations],
        "changed": [{"field": one.field, "record": one.first, "again": one.second} for one in done.changed],
    }


def _plain(deviation: Deviation) -> dict[str, Any]:
    """Return a deviation for JSON, which has no infinity: a row that only one of the records has has no size."""
    size = deviation.largest if isfinite(deviation.largest) else None
    return {**{name: getattr(deviation, name) for name in deviation.__slots__}, "largest": size}
