"""Make the reference records and all that is shown of them: `python tools/make_reference.py`.

Seeds already recorded by the present code are not run again, so an interrupted command resumes. A stream whose data is not here
is left out with a line that says how it is had. Afterwards results/README.md and the table of README.md are rewritten, and its
picture is drawn. `--table` does only that, from the records that are there; `--models` and `--streams` choose some of them,
`--but` leaves some learners out, and after `--minutes` none is begun.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nlbench
from nlbench import api, catalog, sources
from nlbench.plan import Plan
from nlbench.records import Record, read_records
from nlbench.records.facts import stated
from nlbench.reporting import drawing, figures
from nlbench.specs import read_table
from nlbench.sweep.running import Budget

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
DIGITS = ("split-digits", "permuted-digits")
MODALITIES = ("split-mnist-5k", "split-letters", "split-satellite", "split-newsgroups", "split-speakers")
"""Images, two tables, texts and a series: with split-digits, six streams of four modalities."""
TOLD_TASKS = ("cuber", "hat", "multi-head", "packnet", "trgp")
"""They must be told at test whose a sample is."""
ON_ALL = ("hope", "joint", "slda", "ranpac", "er", "mlp")
RIVALS = ("hope", "slda", "ranpac", "owm", "er", "mlp")
MAIN = (*ON_ALL, "randumb", "owm", "gpm", "derpp", "a-gem", "ewc", "si", "lwf")
MODELS = {
    "split-digits": tuple(name for name in catalog.names("model") if name not in TOLD_TASKS),
    "permuted-digits": (*ON_ALL, "randumb", "random-features", "owm", "derpp", "ewc-online", "si", "cms", "hope-attention"),
    **dict.fromkeys(MODALITIES, (*ON_ALL, "owm")),
    **dict.fromkeys(("split-mnist", "permuted-mnist", "split-fashion"), MAIN),
    "split-digits-task-il": (*TOLD_TASKS, "hope", "er", "mlp"),
    **dict.fromkeys(
        (
            "split-digits-domain-il",
            "rotated-digits",
            "relabelled-digits",
            "permuted-digits-50",
            "split-newsgroups-wordllama",
            "split-r52-wordllama",
            "split-mnist-domain-il",
            "permuted-mnist-20",
        ),
        RIVALS,
    ),
}
"""The learners recorded on each stream: all of them on the first, the main ones on MNIST's sizes, and hope's rivals elsewhere."""
SEEDS = {"split-digits": 16, "split-digits-task-il": 16}
"""Ten of the others."""
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "picture.svg"
SHOWN = ("hope", "slda", "ranpac", "owm", "er", "mlp", "joint")
SHOWN_ON = (*DIGITS, *MODALITIES, "split-r52-wordllama", "split-mnist", "permuted-mnist", "split-fashion", "relabelled-digits")
ACCURACIES = ("average_accuracy", "prequential_accuracy")
"""Shown is the second where tasks contradict each other, so that nothing has the first."""
MARKS = {"better": " ▴", "worse": " ▾"}
DRAWN_ON, DRAWN = "split-digits", ("mlp", "er", "joint", "hope")
DRAWN_IN_FULL = ("mlp", "hope")

HEAD = """# Reference records

Ten seeds each, sixteen on split-digits, no task id at test but on split-digits-task-il, one pass unless the terms say otherwise;
only `joint` sees old tasks again. Made by `python tools/make_reference.py`, which also made this page; the gate (`nlbench check`)
judges new records against these. `±` is half of the 95 % Student-t interval over seeds. The tests are of average accuracy against
`hope`, paired by seed; their family is a stream's.

"""


def table() -> str:
    """Return results/README.md as the records say it."""
    records = reference()
    shown = {group.stream_digest: group.columns for group in nlbench.compare(records).groups}
    tested = nlbench.compare(records, baseline="hope", metrics=["average_accuracy"])
    groups = tuple(replace(group, columns=shown[group.stream_digest]) for group in tested.groups)
    return HEAD + outdated(records) + replace(tested, groups=groups).to_markdown()


def outdated(records: list[Record]) -> str:
    """Return a paragraph that names the records whose recipes have other values by now; empty if there are none."""
    names = [
        f"{record.model} on {record.stream}"
        for record in records
        if _declared(record) != _declared(nlbench.resolve(record.model, record.stream, seeds=1).describe())
    ]
    return f"Still to be made again with the present values of their recipes: {', '.join(names)}.\n\n" if names else ""


def _declared(said: Record | Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a recipe decides, of a record or of a plan."""
    if isinstance(said, Record):
        said = {"learner_spec": said.footer.learner_spec, "terms": said.terms}
    return stated(said["learner_spec"]["learner"]), said["learner_spec"]["presents"], said["terms"]["batch"]


def summary() -> str:
    """Return the table of README.md: a line a stream, accuracy and forgetting of each learner that is shown, and a mark where
    paired sign-flip tests tell it from hope, by Holm's correction within the line.
    """
    shown = [record for record in reference() if record.model in SHOWN]
    lines = [f"| stream | {' | '.join(f'`{name}`' for name in SHOWN)} |", "|---" * (len(SHOWN) + 1) + "|"]
    for stream in SHOWN_ON:
        if there := [record for record in shown if record.stream == stream]:
            lines.append(f"| {stream} | {' | '.join(cells(there))} |")
    return "\n".join(lines) + "\n"


def cells(records: list[Record]) -> list[str]:
    """Return what the learners reach on one stream, in the order in which they are shown; a dash where one has no record."""
    metric = next(name for name in ACCURACIES if any(value is not None for value in records[0].metric(name).values()))
    baseline = "hope" if any(record.model == "hope" for record in records) else None
    (group,) = nlbench.compare(records, baseline=baseline, metrics=[metric]).groups
    found = {}
    for entry in group.entries:
        values = [entry.estimates[name] for name in (metric, "forgetting") if name in entry.estimates]
        mark = MARKS.get(entry.paired[metric].verdict, "") if entry.paired else ""
        found[entry.label] = " / ".join(share(value.mean) for value in values if value.mean is not None) + mark
    return [found.get(name, "–") for name in SHOWN]


def share(value: float) -> str:
    """Return a share in three decimals without its zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def reference() -> list[Record]:
    """Return the records that are there."""
    return read_records([REFERENCE], with_reference=True)[0]


def missing_data(stream: str) -> str:
    """Return the name of a stream's data set if its files are not here, and "" if they are, or if it has none."""
    source = sources.find(read_table(catalog.find("stream", stream))["stream"]["source"])
    return source.name if source.files and not source.locate() else ""


def draw(path: Path) -> None:
    """Draw README.md's picture, an SVG file: accuracy on all tasks so far, and two accuracy matrices beside it."""
    records = [record for record in reference() if record.stream == DRAWN_ON and record.model in DRAWN]
    (group,) = nlbench.compare(records).groups
    curves = figures.forgetting_curves(group, {name: number for number, name in enumerate(DRAWN)})
    matrices = {panel.title: panel for panel in figures.matrices(group, numbers=True).panels}
    panels = [curves.panels[0], *(matrices[name] for name in DRAWN_IN_FULL)]
    with drawing.settings():
        shapes = [(panel.title, panel.draw, panel.size) for panel in panels]
        _, *others = drawing.export(path.with_suffix(""), shapes, curves.legend, scale=False)
    for other in others:
        other.unlink()


def make(plans: Iterable[Plan], device: str, workers: int | None, minutes: float | None) -> None:
    """Run what is missing of each plan; a record that another made of its learner and stream gives way to the new one."""
    engine = api.engine(workers=workers, threads=1 if workers else None, device=device)
    budget = Budget() if minutes is None else Budget(60 * minutes)
    for outcome in api.sweep(plans, REFERENCE, engine=engine, device=device, budget=budget):
        plan = outcome.plan
        if outcome.state in ("run", "recorded"):
            for old in set(REFERENCE.glob(f"{plan.model}.{plan.stream_name}.*.parquet")) - {plan.record_path(REFERENCE)}:
                old.unlink()
        said = f"{len(outcome.seeds_run)} seeds in {outcome.seconds:.0f} s" if outcome.state == "run" else outcome.error
        sys.stderr.write(f"{plan.model} on {plan.stream_name}: {outcome.state} {said}\n")


def chosen_plans(streams: Iterable[str], models: Collection[str], but: Collection[str]) -> Iterator[Plan]:
    """Yield the plans of these streams whose data is here, of these learners or of all, without some."""
    for stream in streams:
        if missing := missing_data(stream):
            sys.stderr.write(f"{stream}: left out, as its data is not here: nlbench data fetch {missing}\n")
            continue
        for model in (name for name in MODELS[stream] if name not in but and (not models or name in models)):
            yield nlbench.resolve(model, stream, seeds=SEEDS.get(stream, 10))


def main() -> None:
    """Run what is missing, then write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--table", action="store_true")
    options.add_argument("--device", default="auto")
    options.add_argument("--workers", type=int)
    options.add_argument("--minutes", type=float)
    options.add_argument("--models", nargs="*", default=())
    options.add_argument("--but", nargs="*", default=())
    options.add_argument("--streams", nargs="*", default=list(MODELS), choices=MODELS)
    chosen = options.parse_args()
    if not chosen.table:
        make(chosen_plans(chosen.streams, chosen.models, chosen.but), chosen.device, chosen.workers, chosen.minutes)
    (ROOT / "results" / "README.md").write_text(table(), encoding="utf-8")
    between = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", flags=re.DOTALL)
    README.write_text(between.sub(lambda _: summary(), README.read_text(encoding="utf-8")), encoding="utf-8")
    draw(PICTURE)


if __name__ == "__main__":
    main()
