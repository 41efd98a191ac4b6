"""A comparison and its renderings: plain tables for any display, Markdown, CSV, JSON, LaTeX and pandas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nlbench import escaping
from nlbench.comparison import latex
from nlbench.comparison.chance import WORDS
from nlbench.comparison.costs import COSTS, cost_text
from nlbench.comparison.model import Entry, Estimate, Group, Paired, Ranking, Table
from nlbench.comparison.statistics import ROUNDING
from nlbench.metrics import OF_FORGETTING, WITH_CHANCE
from nlbench.records import terms
from nlbench.records.facts import varying

if TYPE_CHECKING:
    import pandas as pd

FIELDS: Final = (
    *("stream", "scenario", "stream_digest", "learner", "terms", "metric", "mean", "low", "high", "sd", "seeds", "reason"),
    *("chance", "learned", "bytes", "seconds", "flops", "baseline", "difference", "difference_low", "difference_high", "pairs"),
    *("p", "p_holm", "p_t", "effect", "verdict", "seeds_to_tell", "rank"),
)
ON_FRONT: Final = "◆"
CHANCE: Final = "(chance)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups of records that can be compared, and why the others cannot."""

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]  # tested in any group
    overall: Mapping[str, Ranking]  # by metric, over streams, of the learners found in each
    mismatches: tuple[str, ...]
    skipped: tuple[str, ...] = ()  # what was read and is no record
    left_out: tuple[str, ...] = ()  # what is over the budget

    def __str__(self) -> str:
        return "\n".join(self._blocks(lambda shown, _: to_text(shown), escaping.terminal)).rstrip("\n")

    def __repr__(self) -> str:
        streams = ", ".join(f"{len(group.entries)} on {group.stream}" for group in self.groups)
        return f"<nlbench comparison of learners: {streams or 'none'}>"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        return self.to_markdown()

    def tables(self) -> Iterator[Table]:
        """Yield, for each stream, the table of its learners and the table of its paired tests, where there are any."""
        for group in self.groups:
            yield from group_tables(group)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one flat row, keyed by FIELDS, for each stream, learner and metric."""
        for group in self.groups:
            for entry in group.entries:
                for metric, estimate in entry.estimates.items():
                    paired = entry.paired.get(metric)
                    ranking = group.rankings.get(metric)
                    facts = _plain(paired) if paired else {}
                    yield {
                        "stream": group.stream,
                        "scenario": group.scenario,
                        "stream_digest": group.stream_digest,
                        "learner": entry.label,
                        "terms": terms.text(entry.record.terms),
                        "metric": metric,
                        "mean": estimate.mean,
                        "low": estimate.low,
                        "high": estimate.high,
                        "sd": estimate.sd,
                        "seeds": estimate.n,
                        "reason": estimate.reason,
                        "chance": estimate.chance,
                        "learned": entry.learned,
                        "bytes": entry.bytes,
                        "seconds": entry.seconds,
                        "flops": entry.flops,
                        "baseline": group.baseline,
                        "difference": facts.get("mean"),
                        "difference_low": facts.get("low"),
                        "difference_high": facts.get("high"),
                        "pairs": facts.get("n"),
                        "rank": ranking.ranks[entry.label] if ranking else None,
                        **{key: facts.get(key) for key in ("p", "p_holm", "p_t", "effect", "verdict", "seeds_to_tell")},
                    }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "metrics": list(self.metrics),
            "groups": [_group_dict(group) for group in self.groups],
            "overall": {metric: _plain(ranking) for metric, ranking in self.overall.items()},
            "mismatches": list(self.mismatches),
            "left_out": list(self.left_out),
        }

    def to_json(self) -> str:
        """Return everything as JSON."""
        return escaping.json_text(json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row for each stream, learner and metric."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()), columns=list(FIELDS))

    def to_csv(self) -> str:
        """Return one line for each stream, learner and metric, in full precision; nulls are empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            writer.writerow({key: escaping.csv(value) if isinstance(value, str) else value for key, value in row.items()})
        return text.getvalue()

    def to_markdown(self, columns: Sequence[str] = ()) -> str:
        """Return the tables, ranks and notes as Markdown; of the tables no columns but `columns`, if any are named."""

        def table(shown: Table, _: Group) -> str:
            return _markdown_table(shown)

        return "\n".join(self._blocks(table, lambda line: f"- {escaping.markdown(line)}", columns))

    def to_latex(self, columns: Sequence[str] = ()) -> str:
        """Return the tables as LaTeX for booktabs, ranks and notes as comments; `columns` as in `to_markdown`."""
        bold = {group.stream_digest: latex.best(group) for group in self.groups}

        def table(shown: Table, group: Group) -> str:
            if "metric" in shown.header:
                return latex.table(shown)
            return latex.table(shown, bold[group.stream_digest], _marked(group, shown.header))

        return "\n".join(self._blocks(table, lambda line: f"% {escaping.printable(line)}", columns, explained=True))

    def _blocks(self, table: Any, line: Any, columns: Sequence[str] = (), *, explained: bool = False) -> Iterator[str]:
        """Yield tables and what stands below them; `explained`: a table itself says what its mark means."""
        for group in self.groups:
            shown = group_tables(group, columns)
            yield from (table(each, group) for each in shown)
            yield "\n".join([*map(line, remarks(group, costs=() if explained else shown[0].header)), ""])
        closing = [*(ranking_text(metric, ranking) for metric, ranking in self.overall.items()), *self.mismatches, *self.left_out]
        if closing:
            yield "\n".join([*map(line, closing), ""])


def group_tables(group: Group, columns: Sequence[str] = ()) -> list[Table]:
    """Return the table of a group's learners and, where there are any, that of its paired tests; with `columns`, no others."""
    tests = [paired_table(group)] if any(entry.paired for entry in group.entries) else []
    return [chosen(table, columns) if columns else table for table in (learner_table(group), *tests)]


def learner_table(group: Group) -> Table:
    """Return one row a learner: mean ± half of the 95 % interval of each metric shown, bytes and seconds.

    ◆ marks the Pareto fronts. The title says the terms that all share, a column those that differ; the foot, what constant
    answers reach of each metric.
    """
    apart = varying([entry.record.terms for entry in group.entries])
    shared = {name: value for name, value in group.entries[0].record.terms.items() if name not in apart}
    title = " · ".join([group.stream, group.scenario, f"{group.n_tasks} tasks", *([terms.text(shared)] if shared else [])])
    costs = [cost for cost in COSTS if cost != "flops" or any(entry.flops is not None for entry in group.entries)]
    header = ("learner", "seeds", *(["terms"] if apart else []), *group.columns, *costs)
    rows = [
        (
            entry.label,
            str(len(entry.record.seeds)),
            *([terms.text(entry.record.terms, apart)] if apart else []),
            *(estimate_text(entry.estimates[metric]) + _mark(entry, metric) for metric in group.columns),
            *(_cost(entry, cost) for cost in costs),
        )
        for entry in group.entries
    ]
    chances = [_chance(group, metric) for metric in group.columns]
    foot = ((CHANCE, "", *([""] if apart else []), *chances, *("" for _ in costs)),) if any(chances) else ()
    return Table(title, header, tuple(rows), foot)


def _chance(group: Group, metric: str) -> str:
    """Return what constant answers reach of a metric: one number, or from where to where learners of unequal seeds differ."""
    if metric not in WITH_CHANCE:
        return ""
    known = [value for entry in group.entries if (value := entry.estimates[metric].chance) is not None]
    return " … ".join(dict.fromkeys(f"{value:.3f}" for value in (min(known), max(known)))) if known else "–"


def paired_table(group: Group) -> Table:
    """Return one row a learner and tested metric: the difference from the baseline on common seeds, its tests and the verdict."""
    title = f"{group.stream}: difference from {group.baseline}, paired on seeds; Holm over {group.family} tests"
    header = ("learner", "metric", "difference", "95 % interval", "seeds", "p", "p (Holm)", "effect", "verdict")
    rows = [
        (
            entry.label,
            metric,
            f"{paired.mean:+.3f}",
            "–" if paired.low is None else f"{paired.low:+.3f} … {paired.high:+.3f}",
            str(paired.n),
            f"{paired.p:.3g}",
            f"{paired.p_holm:.3g}",
            "–" if paired.effect is None else f"{paired.effect:+.2f}",
            verdict_text(paired),
        )
        for entry in group.entries
        for metric, paired in entry.paired.items()
    ]
    return Table(title, header, tuple(rows))


def to_text(table: Table) -> str:
    """Return a table as aligned plain lines: what to print where hundreds of rows make a drawn table slow."""
    lines = [[escaping.terminal(cell) for cell in row] for row in (table.header, *table.rows, *table.foot)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([escaping.terminal(table.title), *aligned, ""])


IDENTIFYING: Final = ("learner", "metric")
"""Columns that say what a row is of, and always stay."""
LEAST: Final[tuple[str, ...]] = ("seconds", "flops", "bytes", "seeds", "terms", "p", "effect", "p (Holm)", "95 % interval")
"""Columns that are left out first where there is no room, in this order; then metrics, from the right."""


def fitting(table: Table, width: int) -> tuple[Table, tuple[str, ...]]:
    """Return a table with as many columns as fit into `width` characters, IDENTIFYING always, and the names of the others."""
    widths = [max(len(cell) for cell in column) for column in zip(table.header, *table.rows, *table.foot, strict=True)]
    droppable = [name for name in LEAST if name in table.header[1:]]
    droppable += [name for name in reversed(table.header) if name not in (*IDENTIFYING, *LEAST, "verdict")]
    dropped: list[str] = []
    while sum(size + 2 for size, name in zip(widths, table.header, strict=True) if name not in dropped) - 2 > width and droppable:
        dropped.append(droppable.pop(0))
    return chosen(table, [name for name in table.header[1:] if name not in dropped]), tuple(dropped)


def chosen(table: Table, columns: Sequence[str]) -> Table:
    """Return a table with IDENTIFYING columns and those named, in its own order."""
    kept = [index for index, name in enumerate(table.header) if name in (*IDENTIFYING, *columns)]

    def part(row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(row[index] for index in kept)

    return Table(table.title, part(table.header), tuple(map(part, table.rows)), tuple(map(part, table.foot)))


def remarks(group: Group, *, costs: Collection[str] = COSTS) -> list[str]:
    """Return what stands below a group's tables: what the mark says where a column of `costs` has it, ranks with their critical
    difference, and notes.
    """
    return [*_marked(group, costs), *(ranking_text(metric, ranking) for metric, ranking in group.rankings.items()), *group.notes]


def _marked(group: Group, costs: Collection[str]) -> list[str]:
    if not any(entry.on_front.get(cost) for entry in group.entries for cost in costs):
        return []
    words = "bytes, seconds or FLOPs" if any(entry.flops is not None for entry in group.entries) else "bytes or seconds"
    return [f"{ON_FRONT}: no other learner is better at average_accuracy for as few {words}."]


def estimate_text(estimate: Estimate) -> str:
    """Return mean ± half of the interval, its two ends where it was cut, the mean alone for one seed, – for null."""
    if estimate.mean is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.3f}"
    below, above = estimate.mean - estimate.low, estimate.high - estimate.mean
    if abs(above - below) > ROUNDING:
        return f"{estimate.mean:.3f} ({estimate.low:.3f} … {estimate.high:.3f})"
    return f"{estimate.mean:.3f} ± {above:.3f}"


def verdict_text(paired: Paired) -> str:
    """Return the verdict, with the number of seeds that would tell where these do not."""
    if paired.verdict in ("better", "worse"):
        return paired.verdict
    if paired.n < 2:
        return f"{paired.verdict} (one seed has no spread)"
    if paired.seeds_to_tell is None:
        return f"{paired.verdict} (nor would 1,000)"
    return f"{paired.verdict} ({paired.seeds_to_tell} would)"


def ranking_text(metric: str, ranking: Ranking) -> str:
    """Return the mean ranks, best first, and how far apart they must be."""
    order = sorted(ranking.ranks.items(), key=lambda item: item[1])
    places = ", ".join(f"{label} {rank:.2f}" for label, rank in order)
    apart = f"critical difference {ranking.critical_difference:.2f}, Friedman p {ranking.p:.3g}"
    return f"ranks of {metric} over {ranking.blocks} {ranking.of}: {places} ({apart})"


def bytes_text(size: float) -> str:
    """Return a size in decimal units."""
    return cost_text("bytes", size)


def _mark(entry: Entry, metric: str) -> str:
    return f" ({WORDS[entry.learned]})" if metric in OF_FORGETTING and entry.learned in WORDS else ""


def _cost(entry: Entry, cost: str) -> str:
    value = getattr(entry, cost)
    if value is None:
        return "–"
    return f"{cost_text(cost, value)} {ON_FRONT}" if entry.on_front.get(cost) else cost_text(cost, value)


def _plain(instance: Any) -> dict[str, Any]:
    """Return the fields of a flat dataclass; asdict copies deeply, which costs half a second on 1,000 records."""
    return {name: getattr(instance, name) for name in instance.__slots__}


def _group_dict(group: Group) -> dict[str, Any]:
    return {
        **_plain(group),
        "notes": list(group.notes),
        "rankings": {metric: _plain(ranking) for metric, ranking in group.rankings.items()},
        "entries": [_entry_dict(entry) for entry in group.entries],
    }


def _entry_dict(entry: Entry) -> dict[str, Any]:
    return {
        **{name: value for name, value in _plain(entry).items() if name != "record"},
        "files": [str(path) for path in entry.record.paths],
        "fingerprint": entry.record.fingerprint,
        "terms": entry.record.terms,
        "seeds": list(entry.record.seeds),
        "estimates": {metric: _plain(estimate) for metric, estimate in entry.estimates.items()},
        "paired": {metric: _plain(paired) for metric, paired in entry.paired.items()},
    }


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(escaping.markdown, cells)) + " |"

    rule = "|" + "---|" * len(table.header)
    return "\n".join(
        [f"### {escaping.markdown(table.title)}", "", line(table.header), rule, *map(line, (*table.rows, *table.foot)), ""]
    )
