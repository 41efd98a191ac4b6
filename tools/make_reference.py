"""Make the reference records and all that is shown of them: `python tools/make_reference.py`.

Every record holds ten seeds. Seeds already recorded by the present code are not run again, so an interrupted command resumes.
Afterwards results/README.md and the table of README.md are rewritten, and its picture is drawn. `--table` does only that, from
the records that are there; `--models` and `--streams` choose some of them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nlbench
from nlbench.comparison import Entry
from nlbench.comparison.tables import bytes_text
from nlbench.records import Record, read_records
from nlbench.reporting import drawing, figures

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
STREAMS = ("split-digits", "permuted-digits", "split-mnist", "permuted-mnist")
MODELS = ("hope", "hope-dgd", "hope-attention", "random-features", "cms", "mlp", "joint")
EXTRA = {"split-mnist": ("hope-pixels",)}
SEEDS = 10

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "picture.svg"
SHOWN = {
    "hope": "the learner this package is about",
    "random-features": "frozen random features, exact ridge read-out",
    "joint": "a perceptron that meets old tasks again",
    "mlp": "the same perceptron, left alone",
    "cms": "a continuum memory, plain gradients",
    "hope-attention": "HOPE's blocks with attention, plain gradients",
    "hope-dgd": "`hope` with the paper's own step",
}
SHOWN_ON = ("split-mnist", "permuted-mnist")
DRAWN_ON, DRAWN = "split-mnist", ("mlp", "random-features", "joint", "hope")
DRAWN_IN_FULL = ("mlp", "hope")

HEAD = """# Reference records

Ten seeds each, one pass, no task id at test; only `joint` sees old tasks again. Made by `python tools/make_reference.py`,
which also made this page; the gate (`nlbench check`) judges new records against these. `±` is half of the 95 % Student-t
interval over seeds; tests are paired by seed.

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
    return said["learner_spec"]["learner"], said["learner_spec"]["presents"], said["terms"]["batch"]


def summary() -> str:
    """Return the table of README.md: average accuracy and forgetting of each learner on the streams that are shown."""
    groups = {group.stream: group for group in nlbench.compare(reference()).groups}
    head = " | ".join(f"{stream} | forgets" for stream in SHOWN_ON)
    lines = [f"| learner | {head} | bytes |", "|---" * (2 * len(SHOWN_ON) + 2) + "|"]
    for name, meaning in SHOWN.items():
        entries = [next(entry for entry in groups[stream].entries if entry.label == name) for stream in SHOWN_ON]
        cells = [cell for entry in entries for cell in (estimate(entry, "average_accuracy"), estimate(entry, "forgetting"))]
        lines.append(f"| `{name}`, {meaning} | {' | '.join(cells)} | {bytes_text(entries[0].bytes)} |")
    return "\n".join(lines) + "\n"


def estimate(entry: Entry, metric: str) -> str:
    """Return a mean with half of its interval, without the leading zeros."""
    value = entry.estimates[metric]
    return f"{value.mean:.3f} ± {(value.high - value.low) / 2:.3f}".replace("0.", ".")


def reference() -> list[Record]:
    """Return the records that are there."""
    return read_records([REFERENCE], with_reference=True)[0]


def draw(path: Path) -> None:
    """Draw README.md's picture, an SVG file: accuracy on all tasks so far, and two accuracy matrices beside it."""
    records = [record for record in reference() if record.stream == DRAWN_ON and record.model in DRAWN]
    (group,) = nlbench.compare(records).groups
    curves = figures.forgetting_curves(group, {name: number for number, name in enumerate(DRAWN)})
    matrices = {panel.title: panel for panel in figures.matrices(group, numbers=True).panels}
    panels = [curves.panels[0], *(matrices[name] for name in DRAWN_IN_FULL)]
    with drawing.settings():
        shapes = [(panel.title, panel.draw, panel.size) for panel in panels]
        _, bitmap = drawing.export(path.with_suffix(""), shapes, curves.legend, scale=False)
    bitmap.unlink()


def main() -> None:
    """Run what is missing, then write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--table", action="store_true")
    options.add_argument("--device", default="auto")
    options.add_argument("--models", nargs="*")
    options.add_argument("--streams", nargs="*", default=list(STREAMS))
    chosen = options.parse_args()
    for stream in () if chosen.table else chosen.streams:
        for model in chosen.models or (*MODELS, *EXTRA.get(stream, ())):
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
