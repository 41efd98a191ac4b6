"""Take the parts of HOPE away one by one and write the tables of docs/hope.md: `python docs/ablations.py`.

Runs are recorded in results/ablations and not made twice. `--streams` chooses some of the tables; `--table` writes what has been
recorded without running anything.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import nlbench
from nlbench.records import Record, read_record

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "hope.md"
RESULTS = ROOT / "results" / "ablations"
SEEDS = 10

Rows = tuple[tuple[str, str, dict[str, str]], ...]
"""What a row is called, its recipe, and the values that differ from it."""


FROM_READINGS = {"learner.readout.slack": "0.3", "learner.readout.surprise": "1.0"}
FROM_LABELS = {"learner.readout.slack": "0.0", "learner.readout.surprise": "0.0"}
NO_METRIC = {"learner.metric": "false", "learner.readout.ridge": "1e9", "learner.readout.rate": "0.1"}
"""Plain steps everywhere, at the rate that suits them: against a ridge of 10⁹ no key weighs anything."""


def levels(*widths: int, rate: float, ridges: tuple[float, ...], slower: int = 2) -> str:
    """Return levels of these widths, the last one of period 1, those before it `slower` each."""
    periods = [slower**i for i in reversed(range(len(widths)))]
    tables = [
        f"{{ width = {width}, period = {period}, rate = {rate}, ridge = {ridge} }}"
        for width, period, ridge in zip(widths, periods, ridges, strict=True)
    ]
    return f"[{', '.join(tables)}]"


ONE_SMALL_LEVEL = {"learner.levels": levels(690, rate=0.6, ridges=(30.0,))}
FORGETTING = {"learner.levels": levels(600, 300, rate=0.6, ridges=(100.0, 30.0)).removesuffix(" }]") + ", retain = 0.99 }]"}
LEARNED = {
    "batch": "8",
    "learner.keys": '{ kind = "inputs" }',
    "learner.levels": levels(600, 300, rate=0.6, ridges=(100.0, 30.0)),
    "learner.readout": '{ rule = "protected", rate = 0.6, ridge = 3.0 }',
    "learner.refresh": "32",
}

ABLATIONS: dict[str, Rows] = {
    "split-digits": (
        ("`hope`: 512 random features, exact read-out", "hope", {}),
        ("with values and rates of its own", "hope", FROM_READINGS),
        ("with features turned into the metric of the inputs", "hope-pixels", FROM_LABELS),
        ("with both: `hope-pixels`", "hope-pixels", {}),
        ("without the metric: `hope-dgd`", "hope-dgd", {}),
        ("frozen random features only: `random-features`", "random-features", {}),
        ("a metric that forgets 1 % a batch", "hope", {"learner.readout.retain": "0.99"}),
        ("learned levels of 600 and 300 instead of fixed features", "hope", LEARNED),
        ("256 features", "hope", {"learner.keys.width": "256"}),
        ("1024 features", "hope", {"learner.keys.width": "1024"}),
    ),
    "permuted-digits": (
        ("`hope`: levels of 600 (period 2) and 300", "hope", {}),
        ("without continuum memory: one level of 690", "hope", ONE_SMALL_LEVEL),
        (
            "the slow level of period 8",
            "hope",
            {"learner.levels": levels(600, 300, rate=0.6, ridges=(100.0, 30.0), slower=8)},
        ),
        ("levels without their metric", "hope", {"learner.metric": "false"}),
        ("the fast level's metric forgets 1 % a batch", "hope", FORGETTING),
        ("no metric at all", "hope", {**NO_METRIC, "learner.levels": levels(600, 300, rate=0.1, ridges=(1.0, 1.0))}),
        ("levels of 300 and 150", "hope", {"learner.levels": levels(300, 150, rate=0.6, ridges=(100.0, 30.0))}),
        ("without learned features: `random-features` of 1024", "random-features", {}),
        ("the same with values and rates of its own", "random-features", FROM_READINGS),
        ("the same, features turned into the metric of the inputs: `hope-pixels`", "hope-pixels", {}),
        ("without the metric: `hope-dgd`", "hope-dgd", {}),
    ),
}


def records(stream: str, recorded_only: bool) -> Iterator[tuple[str, Record]]:
    """Yield every row's name and record, making those that are missing unless `recorded_only`."""
    for label, model, changes in ABLATIONS[stream]:
        if recorded_only:
            plan = nlbench.resolve(model, stream, seeds=SEEDS, overrides=changes)
            found = [read_record(path) for path in RESULTS.glob(f"{model}.{stream}.*.parquet")]
            yield label, next(one for one in found if one.metadata["learner_digest"] == plan.learner.digest)
            continue
        run = nlbench.run(model, stream, seeds=SEEDS, overrides=changes, results=RESULTS, device="cpu")
        sys.stderr.write(f"{stream}: {label}: {row(label, run.record)}\n")
        yield label, run.record


def row(label: str, record: Record) -> str:
    """Return the table's row of a record."""
    cells = [interval(record, metric) for metric in ("average_accuracy", "forgetting", "learning_accuracy")]
    return f"| {label} | {' | '.join(cells)} | {sum(record.bytes().values()) / 1e6:.1f} MB |"


def interval(record: Record, metric: str) -> str:
    """Return the mean over seeds, plus or minus its standard error."""
    values = np.array([value for value in record.metric(metric).values() if value is not None])
    return f"{values.mean():.4f} ± {values.std(ddof=1) / len(values) ** 0.5:.4f}"


def write(stream: str, rows: list[str]) -> None:
    """Put the rows between the page's marks for the stream."""
    head = ["| learner | accuracy | forgetting | learning accuracy | bytes |", "|---|---|---|---|---|"]
    table = "\n".join([f"<!-- {stream} -->", *head, *rows, f"<!-- /{stream} -->"])
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(rf"<!-- {stream} -->.*<!-- /{stream} -->", lambda _: table, page, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Run what is missing and write the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", nargs="*", default=list(ABLATIONS))
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    for stream in chosen.streams:
        write(stream, [row(label, record) for label, record in records(stream, chosen.table)])


if __name__ == "__main__":
    main()
