"""Take parts of the `projected` recipes away and write the tables of docs/projected.md: `python tools/ablations.py`.

Rows that are recipes as they stand are read from the reference records. The others are recorded in results/ablations and not
made twice, `--processes` of them at a time. `--streams` chooses some of the tables; `--table` runs nothing, and leaves out rows
that were not run.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

import nlbench
from nlbench import api
from nlbench.plan import Plan
from nlbench.records import Record, read_record

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "projected.md"
RESULTS = ROOT / "results" / "ablations"
REFERENCE = ROOT / "results" / "reference"
SEEDS = {"split-digits": 10, "permuted-digits": 10, "split-mnist": 5, "permuted-mnist": 5}

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


def self_made(*names: str) -> dict[str, str]:
    """Return what lets memories make these of a learner's writes."""
    made = ", ".join(f'"{name}"' for name in names)
    return {"learner.self_reference": f"{{ makes = [{made}] }}"}


def all_self_made(model: str) -> Rows:
    """Return the rows of what memories may make of a recipe's writes."""
    return (
        ("keys made by a memory that writes itself", model, self_made("keys")),
        ("rates made by one", model, self_made("rates")),
        ("retentions made by one", model, self_made("retentions")),
        ("keys, rates and retentions", model, self_made("keys", "rates", "retentions")),
    )


def mnist_levels(*widths: int, slower: int = 2) -> str:
    """Return the levels of `projected-levels` on permuted-mnist, with other widths or periods; a single one is the slower."""
    return levels(*widths, rate=0.6, ridges=(1000.0, 300.0)[: len(widths)], slower=slower)


def forgetting(some: str) -> str:
    """Return these levels, the last with a metric that keeps 99 % at a batch."""
    return some.removesuffix(" }]") + ", retain = 0.99 }]"


ONE_SMALL_LEVEL = {"learner.levels": levels(690, rate=0.6, ridges=(30.0,))}
FORGETTING = {"learner.levels": forgetting(levels(600, 300, rate=0.6, ridges=(100.0, 30.0)))}
LEARNED = {
    "batch": "8",
    "learner.keys": '{ kind = "inputs" }',
    "learner.levels": levels(600, 300, rate=0.6, ridges=(100.0, 30.0)),
    "learner.readout": '{ rule = "protected", rate = 0.6, ridge = 3.0 }',
    "learner.refresh": "32",
}

LEARNED_MNIST = {
    "batch": "64",
    "learner.keys": '{ kind = "inputs" }',
    "learner.levels": mnist_levels(1000, 500),
    "learner.readout": '{ rule = "protected", rate = 0.6, ridge = 50.0 }',
    "learner.refresh": "128",
    "learner.share": "4",
}

ABLATIONS: dict[str, Rows] = {
    "split-digits": (
        ("`random-features`: 512 random features, exact read-out", "random-features", {}),
        ("with values and rates of its own", "random-features", FROM_READINGS),
        ("with features turned into the metric of the inputs", "turned-features", FROM_LABELS),
        ("with both: `turned-features`", "turned-features", {}),
        ("without the metric: `delta-rule`", "delta-rule", {}),
        ("a metric that forgets 1 % a batch", "random-features", {"learner.readout.retain": "0.99"}),
        ("learned levels of 600 and 300 instead of fixed features", "random-features", LEARNED),
        ("256 features", "random-features", {"learner.keys.width": "256"}),
        ("1024 features", "random-features", {"learner.keys.width": "1024"}),
        *all_self_made("random-features"),
    ),
    "permuted-digits": (
        ("`projected-levels`: levels of 600 (period 2) and 300", "projected-levels", {}),
        ("without continuum memory: one level of 690", "projected-levels", ONE_SMALL_LEVEL),
        (
            "the slow level of period 8",
            "projected-levels",
            {"learner.levels": levels(600, 300, rate=0.6, ridges=(100.0, 30.0), slower=8)},
        ),
        ("levels without their metric", "projected-levels", {"learner.metric": "false"}),
        ("the fast level's metric forgets 1 % a batch", "projected-levels", FORGETTING),
        ("no metric at all", "projected-levels", {**NO_METRIC, "learner.levels": levels(600, 300, rate=0.1, ridges=(1.0, 1.0))}),
        ("levels of 300 and 150", "projected-levels", {"learner.levels": levels(300, 150, rate=0.6, ridges=(100.0, 30.0))}),
        ("without learned features: `random-features` of 1024", "random-features", {}),
        ("the same with values and rates of its own", "random-features", FROM_READINGS),
        ("the same, features turned into the metric of the inputs: `turned-features`", "turned-features", {}),
        ("without the metric: `delta-rule`", "delta-rule", {}),
        *all_self_made("projected-levels"),
    ),
    "split-mnist": (
        (
            "`convolution-ridge`: 2700 convolutional features, exact read-out, values and rates of its own",
            "convolution-ridge",
            {},
        ),
        ("without self-reference: values are the labels, rates 1", "convolution-ridge", FROM_LABELS),
        *all_self_made("convolution-ridge"),
        ("without the metric: delta gradient descent", "convolution-ridge", {"learner.readout": '{ rule = "dgd", rate = 0.5 }'}),
        ("a metric that forgets 1 % a batch", "convolution-ridge", {"learner.readout.retain": "0.99"}),
        (
            "a learned level of 500 between features and read-out",
            "convolution-ridge",
            {"learner.levels": levels(500, rate=0.6, ridges=(300.0,))},
        ),
        ("learned levels of 1000 and 500 instead of fixed features", "convolution-ridge", LEARNED_MNIST),
        ("width: 150 filters, 1350 features", "convolution-ridge", {"learner.keys.filters": "[32, 150]"}),
        ("width: 600 filters, 5400 features", "convolution-ridge", {"learner.keys.filters": "[32, 600]"}),
        ("no convolution, the same bytes: `turned-features` of 2390", "turned-features", {"learner.keys.width": "2390"}),
        (
            "frozen random features only, the same bytes: `random-features` of 2390",
            "random-features",
            {"learner.keys.width": "2390"},
        ),
        ("no convolution: `turned-features`", "turned-features", {}),
        ("the same without self-reference", "turned-features", FROM_LABELS),
        ("the same with features that never turn", "turned-features", {"learner.keys.warm_up": "0"}),
        ("frozen random features only: `random-features`", "random-features", {}),
        ("without the metric: `delta-rule`", "delta-rule", {}),
    ),
    "permuted-mnist": (
        ("`projected-levels`: levels of 1000 (period 2) and 500", "projected-levels", {}),
        *all_self_made("projected-levels"),
        (
            "without continuum memory, the same bytes: one level of 1330",
            "projected-levels",
            {"learner.levels": mnist_levels(1330)},
        ),
        ("the slow level of period 8", "projected-levels", {"learner.levels": mnist_levels(1000, 500, slower=8)}),
        ("levels without their metric", "projected-levels", {"learner.metric": "false"}),
        (
            "the fast level's metric forgets 1 % a batch",
            "projected-levels",
            {"learner.levels": forgetting(mnist_levels(1000, 500))},
        ),
        ("no metric at all", "projected-levels", {**NO_METRIC, "learner.levels": levels(1000, 500, rate=0.1, ridges=(1.0, 1.0))}),
        ("width: levels of 500 and 250", "projected-levels", {"learner.levels": mnist_levels(500, 250)}),
        ("width: levels of 2000 and 1000", "projected-levels", {"learner.levels": mnist_levels(2000, 1000)}),
        ("frozen random features only, the same bytes: `random-features` of 2000", "random-features", {}),
        ("the same with values and rates of its own", "random-features", FROM_READINGS),
        ("frozen random features only, seven times the bytes: 6000", "random-features", {"learner.keys.width": "6000"}),
        ("without the metric: `delta-rule`", "delta-rule", {}),
    ),
}


def resolved(model: str, stream: str, changes: dict[str, str]) -> Plan:
    """Return the plan of a row."""
    return nlbench.resolve(model, stream, seeds=SEEDS[stream], overrides=changes)


def run(streams: list[str], processes: int, device: str) -> None:
    """Run the rows of some streams; exit with the errors of those that failed when all have ended."""
    plans = [resolved(model, stream, changes) for stream in streams for _, model, changes in ABLATIONS[stream] if changes]
    engine, failed = api.engine("local", workers=processes, device=device), []
    for count, outcome in enumerate(api.sweep(plans, RESULTS, engine=engine, device=device), 1):
        sys.stderr.write(f"{count}/{len(plans)} {outcome.plan.model} on {outcome.plan.stream_name}: {outcome.state}\n")
        failed += [outcome.error] if outcome.state == "failed" else []
    if failed:
        sys.exit("\n".join(failed))


def recorded(stream: str) -> list[str]:
    """Return the table's rows of the records that are there, and say which are not."""
    paths = [
        path
        for folder in (RESULTS, REFERENCE)
        for path in sorted(folder.glob(f"*.{stream}.*.parquet"), key=lambda path: path.stat().st_mtime)
    ]
    latest = {(record.model, record.footer.learner_digest): record for record in map(read_record, paths)}
    keys = {label: (model, resolved(model, stream, changes).learner.digest) for label, model, changes in ABLATIONS[stream]}
    for label in (label for label, key in keys.items() if key not in latest):
        sys.stderr.write(f"not run: {stream}: {label}\n")
    return [row(label, latest[key], SEEDS[stream]) for label, key in keys.items() if key in latest]


def row(label: str, record: Record, seeds: int) -> str:
    """Return the table's row of a record's first seeds."""
    cells = [interval(record, metric, seeds) for metric in ("average_accuracy", "forgetting", "learning_accuracy")]
    return f"| {label} | {' | '.join(cells)} | {sum(record.bytes().values()) / 1e6:.1f} MB |"


def interval(record: Record, metric: str, seeds: int) -> str:
    """Return the mean over the first seeds, plus or minus its standard error."""
    values = np.array([record.metric(metric)[seed] for seed in range(seeds)])
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
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--device", default="cpu")
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    if not chosen.table:
        run(chosen.streams, chosen.processes, chosen.device)
    for stream in chosen.streams:
        write(stream, recorded(stream))


if __name__ == "__main__":
    main()
