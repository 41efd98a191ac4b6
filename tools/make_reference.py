"""Make the reference records and the table of them: `python tools/make_reference.py`.

Every record holds ten seeds. Seeds already recorded by the present code are not run again, so an interrupted command resumes.
`--table` only rewrites results/README.md from the records that are there; `--models` and `--streams` choose some of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nlbench
from nlbench.records import Record, read_records

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
STREAMS = ("split-digits", "permuted-digits", "split-mnist", "permuted-mnist")
MODELS = ("hope", "hope-dgd", "hope-attention", "random-features", "cms", "mlp", "joint")
EXTRA = {"split-mnist": ("hope-pixels",)}
SEEDS = 10

HEAD = """# Reference records

Ten seeds each, one pass, no task id at test; only `joint` sees old tasks again. Made by `python tools/make_reference.py`,
which also made this page; the gate (`nlbench check`) judges new records against these. `±` is half of the 95 % Student-t
interval over seeds; tests are paired by seed.

"""


def table() -> str:
    """Return results/README.md as the records say it."""
    records, _ = read_records([REFERENCE], with_reference=True)
    return HEAD + outdated(records) + nlbench.compare(records, baseline="mlp").to_markdown()


def outdated(records: list[Record]) -> str:
    """Return a paragraph that names the records whose recipes have other values by now; empty if there are none."""
    names = [
        f"{record.model} on {record.stream}"
        for record in records
        if record.footer.learner_digest != nlbench.resolve(record.model, record.stream, seeds=SEEDS).learner.digest
    ]
    return f"Still to be made again with the present values of their recipes: {', '.join(names)}.\n\n" if names else ""


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


if __name__ == "__main__":
    main()
