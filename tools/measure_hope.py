"""Measure `hope`, its parts taken away and its rivals, and write the tables of docs/hope.md: `python tools/measure_hope.py`.

Every row is recorded in `--results`, a few seeds a folder, and is not made twice; rows may stand in `results/reference` too.
`--streams` and `--rows` choose some, `--processes` run at a time, the first rows first, and after `--seconds` none is begun.
`--table` runs nothing. Only rows of the chosen streams are written anew, and a cell without a record stays as the page has it; of
rows that were run the column of seeds says how many.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nlbench
from nlbench.comparison import statistics
from nlbench.learners.hope import sizes
from nlbench.plan import Plan
from nlbench.records import Record, read_records

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "hope.md"
RESULTS, REFERENCE = ROOT / "results" / "hope", ROOT / "results" / "reference"
LEAST_GAIN, MOST_COST, ROUNDING = 0.001, 0.002, 1e-9
"""A part must gain the one on two streams, and its interval must exclude the other as a cost on all."""


class Setting(NamedTuple):
    """A stream, its seeds, the aims (accuracy, forgetting), hope's bytes at the end, and what is said beyond its file."""

    stream: str
    seeds: int
    aims: tuple[float | None, float | None] = (None, None)
    megabytes: float = 0.0
    changes: Mapping[str, str] = {}


class Row(NamedTuple):
    """A recipe with the values that differ from it."""

    model: str
    changes: Mapping[str, str] = {}


AT_BOUNDARIES = {"protocol.evaluate_every": "none"}
SETTINGS = {
    "split-digits": Setting("split-digits", 20, (0.993, 0.002), 1.1),
    "permuted-digits": Setting("permuted-digits", 20, (0.974, 0.008), 10.6),
    "split-digits, domain-il": Setting("split-digits-domain-il", 20, (0.995, 0.003), 1.1),
    "rotated-digits": Setting("rotated-digits", 20, (0.979, 0.006), 1.3),
    "relabelled-digits": Setting("relabelled-digits", 20, (0.94, None), 1.2),
    "relabelled-vowel": Setting("relabelled-vowel", 20, megabytes=9.8),
    "relabelled-vehicle": Setting("relabelled-vehicle", 20, megabytes=9.1),
    "relabelled-speakers": Setting("relabelled-speakers", 20, megabytes=6.0),
    "permuted-digits, blurred 10 %": Setting("blurred-permuted-digits-10", 10, megabytes=10.6, changes=AT_BOUNDARIES),
    "permuted-digits, blurred 30 %": Setting("blurred-permuted-digits-30", 10, megabytes=10.6, changes=AT_BOUNDARIES),
    "permuted-digits, blurred 50 %": Setting("blurred-permuted-digits-50", 10, megabytes=10.6, changes=AT_BOUNDARIES),
    "permuted-digits, 50 tasks": Setting("permuted-digits-50", 10, (0.92, None), 17.5),
    "permuted-digits, 50 tasks, 10.6 MB": Setting("permuted-digits-50", 10, (0.92, None), 10.6, {"learner.width": "1410"}),
    "permuted-digits, 100 tasks": Setting("permuted-digits-50", 10, (None, None), 13.0, {"stream.tasks": "100", **AT_BOUNDARIES}),
    "split-mnist": Setting("split-mnist", 10, (0.990, 0.0055), 29.5),
    "split-mnist, domain-il": Setting("split-mnist-domain-il", 10, (0.992, 0.005), 29.5),
    "split-mnist, domain-il, 8 MB": Setting("split-mnist-domain-il", 10, (0.992, 0.005), 8.0, {"learner.width": "1790"}),
    "split-fashion": Setting("split-fashion", 10, (0.900, 0.055), 29.5),
    "relabelled-mnist": Setting("relabelled-mnist", 10, (0.96, None), 29.5),
    "permuted-mnist": Setting("permuted-mnist", 10, (0.975, 0.002), 22.8),
    "permuted-mnist, 20 tasks": Setting("permuted-mnist-20", 10, (0.967, 0.003), 22.8),
    "20 Newsgroups": Setting("split-newsgroups-wordllama", 10, (0.748, 0.082), 40.0, AT_BOUNDARIES),
    "R52": Setting("split-r52-wordllama", 10, (0.728, 0.071), 44.0, AT_BOUNDARIES),
}
FULL = "hope"
PARTS = {
    "filters": {"learner.filters": "false"},
    "contrast": {"learner.contrast": "false"},
    "groups": {"learner.groups": "false"},
    "metric": {"learner.metric": '"keys"'},
    "contexts": {"learner.contexts": "1"},
    "doubt": {"learner.doubt": "0.0"},
    "rates": {"learner.rates": "0.0"},
    "levels": {"learner.levels": "false", "learner.width": "2500"},
}
"""Each switch off, at equal bytes: where levels go, fixed features take their room."""
LEVELLED = ("permuted-mnist", "permuted-mnist, 20 tasks")
ONE_WORLD = {"learner.contexts": "1", "learner.rates": "0.0", "learner.levels": "false", "learner.groups": "false"}
RIVALS = {
    "SLDA, hope's keys": Row("hope", ONE_WORLD),
    "RanPAC's ridge, hope's keys": Row("hope", {**ONE_WORLD, "learner.metric": '"keys"'}),
    "SLDA": Row("slda"),
    "RanPAC": Row("ranpac"),
    "OWM": Row("owm"),
    "GPM": Row("gpm"),
    "EWC": Row("ewc"),
    "ER, 500 samples": Row("er", {"learner.capacity": "500"}),
    "ER, equal bytes": Row("er"),
    "SLDA, equal bytes": Row("slda"),
    "RanPAC, equal bytes": Row("ranpac"),
    "OWM, equal bytes": Row("owm"),
    "GPM, equal bytes": Row("gpm"),
    "random-features": Row("random-features"),
    "convolution-ridge": Row("convolution-ridge"),
    "projected-levels": Row("projected-levels"),
}
SEARCHED = {
    ("split-digits", "OWM, equal bytes"): {"learner.optimizer.rate": "1.0", "learner.alpha": "1.0"},
    ("split-digits", "GPM, equal bytes"): {"learner.optimizer.rate": "0.3", "learner.thresholds": "[0.9, 0.95]"},
    ("permuted-digits", "OWM, equal bytes"): {"learner.optimizer.rate": "1.0", "learner.alpha": "0.3"},
    ("permuted-digits", "GPM, equal bytes"): {"learner.optimizer.rate": "0.1", "learner.thresholds": "[0.9, 0.95]"},
}
"""As their recipes were, at these widths: the best of twelve on held-out parts of the first tasks. Elsewhere recipes' values."""


def rows(name: str) -> dict[str, Row]:
    """Return the rows of a setting by label: hope, each of its parts that is there taken away, and its rivals."""
    setting = SETTINGS[name]
    image = sample_of(setting.stream) == "image"
    found = {FULL: Row("hope")}
    for part, changes in PARTS.items():
        there = {
            "filters": image,
            "contrast": image and shortest(setting.stream) > sizes.SMALL,
            "groups": sample_of(setting.stream) == "features",
            "levels": name in LEVELLED,
        }
        if there.get(part, True):
            found[f"without {part}"] = Row("hope", changes)
    for label, row in RIVALS.items():
        changes = dict(row.changes)
        if label.endswith("equal bytes"):
            changes |= filling(row.model, setting) | SEARCHED.get((name, label), {})
        if row.model == "hope" and name in LEVELLED:
            changes["learner.width"] = PARTS["levels"]["learner.width"]
        if label != "convolution-ridge" or image:
            found[label] = Row(row.model, changes)
    return found


def filling(model: str, setting: Setting) -> dict[str, str]:
    """Return what makes a rival as large as hope: so many stored samples (beside a network that is not counted), features with
    their gram, or hidden units with their projections.
    """
    plan = nlbench.resolve(model, setting.stream, seeds=1)
    numbers, classes = math.prod(plan.declared.source.input_shape), plan.declared.source.n_classes
    room, sample = setting.megabytes * 1e6 / 4, numbers + 4
    layers = len(getattr(plan.learner.learner.network, "hidden", ()))
    projected = 2 * layers - 1, numbers + classes + 2 * layers + 1, (numbers + 1) ** 2
    match model:
        case "er":
            return {"learner.capacity": str(int(room / sample))}
        case "slda":
            square, linear, constant = 1, numbers + 2 * classes, 0
        case "ranpac":
            square, linear, constant = 3, numbers + 4 * classes, 0
        case "owm":
            square, linear, constant = projected
        case "gpm":
            square, linear, constant = *projected[:2], projected[2] + plan.learner.learner.samples * sample
    size = int((math.sqrt(linear**2 + 4 * square * (room - constant)) - linear) / (2 * square))
    return {"learner.network.hidden": str([size] * layers)} if layers else {"learner.network.width": str(size)}


def shortest(stream: str) -> int:
    """Return the shorter side of a stream's images."""
    source = nlbench.resolve("hope", stream, seeds=1).declared.source
    return min(source.input_shape[-2:]) if source else 0


@cache
def sample_of(stream: str) -> str:
    """Return what a sample of a stream is, an image, a vector or given features, as its learner is told."""
    spec = nlbench.resolve("hope", stream, seeds=1).declared
    if spec.source is None or spec.spec.stream.kind == "permuted":
        return "vector"
    return "image" if len(spec.source.input_shape) > 1 else spec.source.kind


def overrides(setting: Setting, row: Row) -> dict[str, str]:
    """Return what a row says beyond its files; what a setting says of hope is said of no other."""
    own = {key: value for key, value in setting.changes.items() if row.model == FULL or not key.startswith("learner.")}
    return {**own, **row.changes}


def resolved(name: str, row: Row, seeds: Iterable[int] = (0,)) -> Plan:
    """Return the plan of a row."""
    setting = SETTINGS[name]
    return nlbench.resolve(row.model, setting.stream, seeds=tuple(seeds), overrides=overrides(setting, row))


def made(name: str, label: str, seeds: range, results: Path, device: str) -> None:
    """Run some seeds of a row and record them."""
    setting, row = SETTINGS[name], rows(name)[label]
    folder = results / f"{seeds.start}-{seeds.stop - 1}"
    said = overrides(setting, row)
    nlbench.run(row.model, setting.stream, seeds=seeds, overrides=said, results=folder, device=device, threads=1)


def due(names: Iterable[str], labels: list[str] | None, results: Path, at_once: int) -> Iterator[tuple[str, str, range]]:
    """Yield what is not recorded yet: the first seeds before others, hope on all streams before its parts, and rivals last."""
    rows_of = {name: rows(name) for name in names}
    every = dict.fromkeys(label for those in rows_of.values() for label in those if labels is None or label in labels)
    for start in range(0, max(SETTINGS[name].seeds for name in rows_of), at_once):
        for label in every:
            for name in (name for name, those in rows_of.items() if label in those):
                seeds = range(start, min(start + at_once, SETTINGS[name].seeds))
                folder = results / f"{seeds.start}-{seeds.stop - 1}"
                if seeds and not resolved(name, rows_of[name][label]).record_path(folder).exists():
                    yield name, label, seeds


def run(jobs: list[tuple[str, str, range]], results: Path, processes: int, device: str, seconds: float) -> None:
    """Run jobs, and begin none after so many seconds; say what fails and go on."""
    began, waiting, running = time.monotonic(), list(reversed(jobs)), dict[Future[None], tuple[str, str, range]]()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        while running or (waiting and time.monotonic() - began < seconds):
            while waiting and len(running) < processes and time.monotonic() - began < seconds:
                job = waiting.pop()
                running[pool.submit(made, *job, results, device)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, label, seeds = running.pop(future)
                sys.stderr.write(f"{time.monotonic() - began:5.0f} s {name}: {label}, {seeds}: {future.exception() or 'made'}\n")


class Known:
    """Records by what their rows are, whatever code made them, those of the reference among them: of several the one of most
    seeds, the newest of equals.
    """

    def __init__(self, folder: Path) -> None:
        places = sorted(folder.rglob("*.parquet")), sorted(REFERENCE.glob("*.parquet"))
        records = [record for paths in places if paths for record in read_records(paths, with_reference=True)[0]]
        order = sorted(records, key=lambda record: (len(record.seeds), record.footer.created))
        self._records = {
            (record.model, record.stream_digest, record.footer.learner_digest, record.terms["batch"]): record for record in order
        }

    def __call__(self, name: str, row: Row) -> Record | None:
        plan = resolved(name, row)
        return self._records.get((plan.model, plan.declared.digest, plan.learner.digest, plan.batch))


METRICS = ("average_accuracy", "prequential_accuracy")


def values(record: Record, metric: str = "accuracy") -> dict[int, float]:
    """Return a metric by seed, or nothing; "accuracy" is the prequential one where tasks contradict each other."""
    names = METRICS if metric == "accuracy" else (metric,)
    for name in names:
        found = {seed: value for seed, value in record.metric(name).items() if value is not None}
        if found:
            return found
    return {}


def differences(first: Record, second: Record) -> np.ndarray:
    """Return the accuracies of the first less those of the second on their common seeds."""
    one, other = values(first), values(second)
    return np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def compared(full: Record, others: Mapping[str, Record]) -> dict[str, tuple[statistics.Interval, float]]:
    """Return for each of the others how much more accurate the full learner is, paired by seed, and Holm's p within them."""
    found = {label: differences(full, other) for label, other in others.items()}
    found = {label: each for label, each in found.items() if len(each) > 1}
    adjusted = statistics.holm(np.array([statistics.sign_flip_test(each) for each in found.values()])) if found else []
    return {label: (statistics.mean_interval(each), float(p)) for (label, each), p in zip(found.items(), adjusted, strict=True)}


def number(value: float, sign: str = "") -> str:
    """Return a share in four decimals without its zero."""
    return f"{value:{sign}.4f}".replace("0.", ".", 1)


def interval(found: dict[int, float]) -> str:
    """Return the mean, plus or minus half of its 95 % interval."""
    if not found:
        return "–"
    own = statistics.mean_interval(np.array(list(found.values())))
    half = "" if np.isnan(own.high) else f" ± {number(own.high - own.mean)}"
    return number(own.mean) + half


def megabytes(record: Record) -> str:
    """Return what the learner held at the end, a seed."""
    return f"{sum(record.bytes().values()) / 1e6:.1f}"


def contexts(record: Record) -> str:
    """Return how many contexts the seeds had at the end, from the fewest to the most."""
    frame = record.to_pandas()
    at_end = frame[(frame["metric"] == "contexts") & (frame["after_task"] == record.n_tasks)]
    least, most = int(at_end["value"].min()), int(at_end["value"].max())
    return str(least) if least == most else f"{least} to {most}"


def gain(found: tuple[statistics.Interval, float] | None) -> str:
    """Return the cell of a difference: bold where it is significant, `neutral` where no seed differs."""
    if found is None:
        return ""
    own, p = found
    if own.sd == 0 and own.mean == 0:
        return "neutral"
    text = f"{number(own.mean, '+')} ± {number(own.high - own.mean)}"
    return f"**{text}**" if p <= 0.05 else text


def reached(known: Known, name: str) -> Iterator[list[str]]:
    """Yield what hope reaches on a stream, beside the aims."""
    aim = " / ".join("–" if each is None else number(each) for each in SETTINGS[name].aims)
    record = known(name, rows(name)[FULL])
    if record is not None:
        found = interval(values(record)), interval(values(record, "forgetting")), contexts(record), megabytes(record)
        yield [name, str(len(record.seeds)), aim, *found]


def earned(known: Known, name: str) -> Iterator[list[str]]:
    """Yield what each part gains on a stream."""
    full = known(name, Row("hope"))
    those = {part: known(name, row) for part in PARTS if (row := rows(name).get(f"without {part}"))}
    results = compared(full, {part: record for part, record in those.items() if record is not None}) if full else {}
    if results:
        most = max(own.n for own, _ in results.values())
        fewer = {part: f" ({own.n})" for part, (own, _) in results.items() if own.n < most}
        cells = [gain(results.get(part)) + fewer.get(part, "") if part in those else NOT_THERE for part in PARTS]
        yield [name, str(most), *cells]


def beside(known: Known, name: str) -> Iterator[list[str]]:
    """Yield by how much hope is more accurate than its rivals on a stream."""
    full = known(name, Row("hope"))
    those = {label: known(name, rows(name)[label]) for label in RIVALS if label in rows(name)}
    there = {label: record for label, record in those.items() if record is not None}
    results = compared(full, there) if full else {}
    for label, (own, p) in results.items():
        few = statistics.smallest_p(own.n) * len(results) > 0.05
        outcome = "too few seeds" if few else "tie" if p > 0.05 else "wins" if own.mean > 0 else "loses"
        found = interval(values(there[label])), interval(values(there[label], "forgetting")), megabytes(there[label])
        yield [name, label, *found, gain(results[label]), outcome]


NOT_THERE, VERDICT = "not there", "**earns its place**"


class Table(NamedTuple):
    """A table of the page: its columns, how many of them say what a row is of, what makes a stream's rows, and the column of the
    numbers that they are ordered by.
    """

    columns: tuple[str, ...]
    keys: int
    make: Callable[[Known, str], Iterator[list[str]]]
    order: int | None = None


TABLES = {
    "reached": Table(("stream", "seeds", "aim", "accuracy", "forgetting", "contexts", "MB"), 1, reached),
    "parts": Table(("stream", "seeds", *PARTS), 1, earned),
    "rivals": Table(("stream", "rival", "accuracy", "forgetting", "MB", "hope's gain", ""), 2, beside, 5),
}


def written(cell: str) -> tuple[float, float] | None:
    """Return the mean and the lower end of a gain as `gain` writes it."""
    if cell.startswith("neutral"):
        return 0.0, 0.0
    found = re.match(r"\**([+-]\.\d+) ± (\.\d+|nan)", cell)
    return (float(found[1]), float(found[1]) - float(found[2])) if found else None


def verdict(cells: Iterable[str]) -> str:
    """Return whether a part, by its gains as they are written, gains on two streams and costs on none: one whose end is written
    as the most that it may cost may lie beyond.
    """
    gains = [found for cell in cells if (found := written(cell)) is not None]
    if not gains:
        return "not measured"
    wins = sum(mean >= LEAST_GAIN and low > 0 for mean, low in gains)
    costs = sum(low <= -MOST_COST + ROUNDING for _, low in gains)
    return f"{'yes' if wins >= 2 and not costs else 'no'}: gains on {wins}, a cost not excluded on {costs} of {len(gains)}"


def cells_of(line: str) -> list[str]:
    """Return the cells of a table's line."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def renewed(table: Table, before: list[str], fresh: Iterable[list[str]]) -> list[str]:
    """Return a table's lines with fresh rows in it: what they leave empty, and all other rows, stay; "(10)" marks other seeds."""
    names, *kept = [cells_of(line) for line in before] or [list(table.columns)]
    of = {tuple(cells[: table.keys]): dict(zip(names, cells, strict=True)) for cells in kept[1:] if cells[0] != VERDICT}
    for cells in fresh:
        own = of.setdefault(tuple(cells[: table.keys]), {})
        new = {name: cell for name, cell in zip(table.columns, cells, strict=True) if cell or name not in own}
        if (seeds := own.get("seeds")) != new.get("seeds"):
            own.update({name: f"{cell} ({seeds})" for name, cell in own.items() if written(cell) and not cell.endswith(")")})
        own.update(new)
    streams = list(SETTINGS)

    def place(key: tuple[str, ...]) -> tuple[int, float]:
        found = None if table.order is None else written(of[key][table.columns[table.order]])
        return streams.index(key[0]), found[0] if found else 0.0

    found = [[of[key].get(name, "") for name in table.columns] for key in sorted(of, key=place)]
    if table.make is earned and found:
        found.append([VERDICT, "", *(verdict(cells) for cells in list(zip(*found, strict=True))[2:])])
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in (table.columns, *found)]
    return [lines[0], "|" + "---|" * len(table.columns), *lines[1:]]


def write(known: Known, streams: Iterable[str]) -> None:
    """Put what these streams' records say in the tables of the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        first, last = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        start = page.index(first) + len(first)
        end = page.index(last, start)
        lines = renewed(table, page[start:end].splitlines(), (row for stream in streams for row in table.make(known, stream)))
        page = page[:start] + "\n".join(lines) + page[end:]
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    """Run what is missing and write the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    options.add_argument("--rows", nargs="*")
    options.add_argument("--results", type=Path, default=RESULTS)
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--at-once", type=int, default=5, help="seeds that a process runs at once: on a GPU, all")
    options.add_argument("--device", default="cpu")
    options.add_argument("--seconds", type=float, default=float("inf"))
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    if not chosen.table:
        run(
            list(due(chosen.streams, chosen.rows, chosen.results, chosen.at_once)),
            chosen.results,
            chosen.processes,
            chosen.device,
            chosen.seconds,
        )
    write(Known(chosen.results), chosen.streams)


if __name__ == "__main__":
    main()
