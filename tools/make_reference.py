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
from nlbench import catalog
from nlbench.comparison import Entry
from nlbench.comparison.tables import bytes_text
from nlbench.records import Record, read_records
from nlbench.reporting import drawing, figures

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
STREAMS = ("split-digits", "permuted-digits")
MODELS = (
    "hope",
    "joint",
    "slda",
    "randumb",
    "random-features",
    "owm",
    "er",
    "derpp",
    "ewc-online",
    "si",
    "cms",
    "hope-attention",
    "mlp",
)
SEEDS = 10

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "picture.svg"
SHOWN = {
    "hope": "the learner this package is about",
    "slda": "streaming discriminant analysis on frozen random features",
    "random-features": "ridge regression on frozen random features",
    "owm": "steps across what earlier inputs span",
    "er": "stored samples beside each batch",
    "ewc-online": "a penalty on weights that mattered",
    "cms": "a continuum memory, plain gradients",
    "mlp": "a perceptron, left alone",
    "joint": "the bound: all tasks together, many passes",
}
SHOWN_ON = ("split-digits", "permuted-digits")
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


def told(model: str, stream: str) -> dict[str, str]:
    """Return what the stream must tell a learner beyond what it tells all."""
    kind = nlbench.resolve(model, stream, seeds=SEEDS).learner.learner.kind  # type: ignore[attr-defined]
    return {"protocol.boundaries": "true"} if "boundaries" in catalog.needs(kind) else {}


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
        entries = [next((entry for entry in groups[stream].entries if entry.label == name), None) for stream in SHOWN_ON]
        cells = [estimate(entry, metric) for entry in entries for metric in ("average_accuracy", "forgetting")]
        size = next(bytes_text(entry.bytes) for entry in entries if entry)
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
    options.add_argument("--streams", nargs="*", default=list(STREAMS))
    chosen = options.parse_args()
    for stream in () if chosen.table else chosen.streams:
        for model in chosen.models or MODELS:
            before = set(REFERENCE.glob(f"{model}.{stream}.*.parquet"))
            run = nlbench.run(model, stream, seeds=SEEDS, results=REFERENCE, device=chosen.device, overrides=told(model, stream))
            for old in before - {run.path}:
                old.unlink()
            sys.stderr.write(f"{model} on {stream}: {run.path.name} ({len(run.seeds_run)} seeds run)\n")
    (ROOT / "results" / "README.md").write_text(table(), encoding="utf-8")
    between = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", flags=re.DOTALL)
    README.write_text(between.sub(lambda _: summary(), README.read_text(encoding="utf-8")), encoding="utf-8")
    draw(PICTURE)


if __name__ == "__main__":
    main()
