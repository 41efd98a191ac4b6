"""Make the reference records and all that is shown of them: `python tools/make_reference.py`.

Every record holds ten seeds. Seeds already recorded by the present code are not run again, so an interrupted command resumes. A
stream whose data is not here is left out with a line that says how it is had. Afterwards results/README.md and the table of
README.md are rewritten, and its picture is drawn. `--table` does only that, from the records that are there; `--models` and
`--streams` choose some of them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nlbench
from nlbench import catalog, sources
from nlbench.comparison import Entry
from nlbench.comparison.tables import bytes_text
from nlbench.records import Record, read_records
from nlbench.records.facts import stated
from nlbench.reporting import drawing, figures
from nlbench.specs import read_table

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
DIGITS = ("split-digits", "permuted-digits")
MODALITIES = ("split-mnist-5k", "split-letters", "split-satellite", "split-newsgroups", "split-speakers")
"""Images, two tables, texts and a series: with split-digits, six streams of four modalities."""
ON_ALL = ("hope", "joint", "slda", "ranpac", "er", "mlp")
LEFT_OUT = {("joint", "permuted-digits")}
"""What takes hours: a network that learns ten tasks together, twenty passes each, ten times."""
ON_DIGITS = (*ON_ALL, "randumb", "random-features", "owm", "derpp", "ewc-online", "si", "cms", "hope-attention")
MODELS = {
    **{stream: tuple(model for model in ON_DIGITS if (model, stream) not in LEFT_OUT) for stream in DIGITS},
    **dict.fromkeys(MODALITIES, ON_ALL),
}
"""The learners recorded on each stream."""
SEEDS = 10

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "picture.svg"
SHOWN = {
    "hope": "the learner this package is about",
    "slda": "streaming discriminant analysis on frozen random features",
    "random-features": "ridge regression on frozen random features",
    "ranpac": "the same, its ridge chosen from each task",
    "owm": "steps across what earlier inputs span",
    "er": "stored samples beside each batch",
    "ewc-online": "a penalty on weights that mattered",
    "cms": "a continuum memory, plain gradients",
    "mlp": "a perceptron, left alone",
    "joint": "the bound: all tasks together, many passes",
}
DRAWN_ON, DRAWN = "split-digits", ("mlp", "er", "joint", "hope")
DRAWN_IN_FULL = ("mlp", "hope")

HEAD = """# Reference records

Ten seeds each, no task id at test, one pass unless the terms say otherwise; only `joint` sees old tasks again. Made by
`python tools/make_reference.py`, which also made this page; the gate (`nlbench check`) judges new records against these. `±` is
half of the 95 % Student-t interval over seeds; tests are paired by seed.

"""


def table() -> str:
    """Return results/README.md as the records say it."""
    records = reference()
    return HEAD + outdated(records) + nlbench.compare(records, baseline="mlp").to_markdown()


def outdated(records: list[Record]) -> str:
    """Return a paragraph that names the records whose recipes have other values by now; empty if there are none."""
    names = [
        f"{record.model} on {record.stream}"
        for record in records
        if _declared(record) != _declared(nlbench.resolve(record.model, record.stream, seeds=SEEDS).describe())
    ]
    return f"Still to be made again with the present values of their recipes: {', '.join(names)}.\n\n" if names else ""


def _declared(said: Record | Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a recipe decides, of a record or of a plan."""
    if isinstance(said, Record):
        said = {"learner_spec": said.footer.learner_spec, "terms": said.terms}
    return stated(said["learner_spec"]["learner"]), said["learner_spec"]["presents"], said["terms"]["batch"]


def summary() -> str:
    """Return the table of README.md: average accuracy of each learner on every stream that has records, forgetting on the digits,
    and bytes on the first stream.
    """
    groups = {group.stream: group for group in nlbench.compare(reference()).groups}
    columns = [
        (stream, metric)
        for stream in MODELS
        if stream in groups
        for metric in ("average_accuracy", *(("forgetting",) if stream in DIGITS else ()))
    ]
    head = " | ".join("forgets" if metric == "forgetting" else stream for stream, metric in columns)
    lines = [f"| learner | {head} | bytes |", "|---" * (len(columns) + 2) + "|"]
    for name, meaning in SHOWN.items():
        found = {group.stream: entry for group in groups.values() for entry in group.entries if entry.label == name}
        if found:
            cells = [estimate(found.get(stream), metric) for stream, metric in columns]
            size = bytes_text(next(found[stream] for stream in MODELS if stream in found).bytes)
            lines.append(f"| `{name}`, {meaning} | {' | '.join(cells)} | {size} |")
    return "\n".join(lines) + "\n"


def estimate(entry: Entry | None, metric: str) -> str:
    """Return a mean with half of its interval, without the leading zeros; a dash where there is no record."""
    if entry is None:
        return "–"
    value = entry.estimates[metric]
    return f"{value.mean:.3f} ± {(value.high - value.low) / 2:.3f}".replace("0.", ".")


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


def main() -> None:
    """Run what is missing, then write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--table", action="store_true")
    options.add_argument("--device", default="auto")
    options.add_argument("--models", nargs="*")
    options.add_argument("--streams", nargs="*", default=list(MODELS))
    chosen = options.parse_args()
    for stream in () if chosen.table else chosen.streams:
        if missing := missing_data(stream):
            sys.stderr.write(f"{stream}: left out, as its data is not here: nlbench data fetch {missing}\n")
            continue
        for model in chosen.models or MODELS.get(stream, ON_ALL):
            before = set(REFERENCE.glob(f"{model}.{stream}.*.parquet"))
            run = nlbench.run(model, stream, seeds=SEEDS, results=REFERENCE, device=chosen.device)
            for old in before - {run.path}:
                old.unlink()
            sys.stderr.write(f"{model} on {stream}: {run.path.name} ({len(run.seeds_run)} seeds run)\n")
    (ROOT / "results" / "README.md").write_text(table(), encoding="utf-8")
    between = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", flags=re.DOTALL)
    README.write_text(between.sub(lambda _: summary(), README.read_text(encoding="utf-8")), encoding="utf-8")
    draw(PICTURE)


if __name__ == "__main__":
    main()
