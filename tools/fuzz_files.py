"""Break files at random and read them: nothing may end in a traceback, take more than 5 s or hold more than 1 GB.

    python tools/fuzz_files.py parquet --count 100000
    python tools/fuzz_files.py toml --count 100000
    python tools/fuzz_files.py flips --count 10000
    python tools/fuzz_files.py checkpoints --count 20000

parquet  records of two seeds with bytes changed, cut, doubled or put in, most of them sealed anew, so that the reader's parser
         sees them; and records whose metadata or rows are changed and sealed
toml     the package's own declarations with pieces changed, cut, doubled, nested or put in
flips    one record with one bit changed each time: whatever is read must have the rows and the identity of the record
checkpoints  what an interrupted run left, changed as records are, most with a sum that fits, and run on from

Files lie in memory where the system has a place for that: a disk takes longer than a reader.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load, save

import nlbench
from nlbench import catalog, runner
from nlbench.api.validating import validate
from nlbench.batch import Learner
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.metrics import METRICS
from nlbench.plan import Machine, Plan
from nlbench.protocol import Meeting, Schedule
from nlbench.records import Record, Row, read_record, rewrite_record, write_record
from nlbench.records.schema import METADATA_KEY
from nlbench.records.seal import EMPTY, KEY, sealed
from nlbench.runner import Checkpoint
from nlbench.runner.checkpoint import FORMAT
from nlbench.runner.keeping import Kept
from nlbench.streams.stream import Stream

CPU = Machine(device="cpu")
LONGEST = 5  # seconds of the processor, which another process cannot take
ODD: tuple[Any, ...] = (
    None,
    0,
    -1,
    2**63,
    1e308,
    "",
    "x" * 300,
    "\x1b[31m",
    "::error::",
    [],
    {},
    [[]],
    True,
    "../../etc/passwd",
    0.5,
)
PIECES = (
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    '"',
    "'",
    "\n",
    "[[",
    "]]",
    "#",
    "9" * 50,
    "-",
    "1e999",
    "inf",
    "nan",
    "\x00",
    "é",
    "a.b.c",
    "kind",
)


class HangError(BaseException):
    """A reader took too long; no reader may catch it."""


def main() -> int:
    """Return 0 if nothing was found, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parquet", "toml", "flips", "checkpoints"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGPROF, _ring)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = fuzz(asked.what, asked.count, asked.seed, Path(folder), asked.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"{asked.what}, seed {asked.seed}: {dict(sorted(found.items()))}, peak {peak:.2f} GB\n")
    return int(bool({"traceback", "hang", "changed"} & found.keys()) or peak > 1)


def fuzz(what: str, count: int, seed: int, folder: Path, seconds: float = float("inf")) -> Counter[str]:
    """Return how many files were read, refused in one line, or else."""
    draw = random.Random(seed)
    make = {"parquet": _parquet, "toml": _toml, "flips": _flip, "checkpoints": _checkpoint}[what]
    path = folder / {"toml": "x.toml", "checkpoints": "x.checkpoint"}.get(what, "x.parquet")
    started, found = time.monotonic(), Counter[str]()
    for _ in range(count):
        if time.monotonic() - started > seconds:
            break
        content = make(draw)
        path.write_bytes(content)
        verdict = _judged(what, path)
        found[verdict] += 1
        if verdict in ("traceback", "hang", "changed"):
            sys.stderr.write(f"{verdict}: {content[:200]!r}\n")
    return found


def _judged(what: str, path: Path) -> str:
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        if what == "toml":
            (checked,) = validate([path])
            text = "\n".join(checked.problems)
        elif what == "checkpoints":
            _go_on(path)
            text = ""
        else:
            record = read_record(path)
            if what == "flips" and (record.fingerprint, record.table) != (_reference().fingerprint, _reference().table):
                return "changed"
            text = ""
    except HangError:
        return "hang"
    except NlbenchError as error:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever a reader lets through is what is looked for
        traceback.print_exc()
        return "traceback"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    unclear = text and (path.name not in text or "\x1b" in text or (what != "toml" and "\n" in text))
    if unclear:
        sys.stderr.write(f"unclear: {text!r}\n")
    return "traceback" if unclear else "refused" if text else "read"


def _ring(number: int, frame: FrameType | None) -> None:
    raise HangError


_RECORDS = sorted((catalog.REFERENCE).glob("*.parquet"), key=lambda path: path.stat().st_size)[:12]
_DECLARATIONS = sorted(path for folder in catalog.FOLDERS.values() for path in (catalog.ROOT / folder).glob("*.toml"))
_kept: dict[str, Any] = {}


def _reference() -> Record:
    """Return the record whose bits are flipped."""
    if "record" not in _kept:
        place = Path(tempfile.mkdtemp()) / "good.parquet"
        rewrite_record(read_record(_RECORDS[0]), place)
        _kept["record"], _kept["content"] = read_record(place), place.read_bytes()
    return _kept["record"]


def _flip(draw: random.Random) -> bytes:
    _reference()
    content = bytearray(_kept["content"])
    bit = draw.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


@cache
def _interrupted() -> tuple[Plan, Stream, Checkpoint]:
    """Return a plan, its stream, and the checkpoint of its run, which was stopped after a task."""

    def stop(row: Row) -> None:
        if row.metric == "accuracy" and row.after_task == 2:
            raise KeyboardInterrupt

    results = Path(tempfile.mkdtemp())
    with suppress(KeyboardInterrupt):
        nlbench.run("mlp", "split-digits", seeds=1, results=results, device="cpu", listen=stop)
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    return plan, runner.build_stream(plan, CPU), Checkpoint.of(plan, results)


def _go_on(path: Path) -> None:
    """Go on from a checkpoint as a run does, to its next step."""
    plan, stream, checkpoint = _interrupted()
    schedule = Schedule.of(stream, plan.batch, plan.learner.presents)

    def built() -> Learner:
        return runner.build_learner(plan, stream, "auto")

    meeting = Meeting(built(), stream, schedule, {})
    with torch.no_grad():
        Kept(meeting, replace(checkpoint, path=path), replace(CPU, checkpoint_every=0.0), built, lambda remark: None).resume()
        with suppress(NotFiniteError):  # numbers that were forged
            next(meeting.steps(), None)


def _checkpoint(draw: random.Random) -> bytes:
    content = _interrupted()[-1].path.read_bytes()
    start = len(FORMAT) + 32
    if draw.random() < 0.1:
        return _broken(content, draw)
    if draw.random() < 0.5:
        rest = _broken(content[start:], draw)
    else:  # what it says of itself
        tensors = load(content[start:])
        said = json.loads(tensors["facts"].tobytes())
        _spoil(said, draw)
        rest = save({**tensors, "facts": np.frombuffer(json.dumps(said).encode(), np.uint8)})
    return b"".join((content[: len(FORMAT)], sha256(rest).digest(), rest))


def _parquet(draw: random.Random) -> bytes:
    base = _base(draw.choice(_RECORDS))
    kind = draw.random()
    if kind < 0.2:
        said = json.loads(base.said)
        _spoil(said, draw)
        return _written(base.groups, said)
    if kind < 0.3:
        rows = list(base.rows)
        place = draw.randrange(len(rows))
        rows[place] = _spoiled(rows[place], draw)
        return _written([pa.Table.from_pylist(rows, schema=base.groups[0].schema), *base.groups[1:]], json.loads(base.said))
    content = bytearray(_broken(base.content, draw))
    if kind < 0.9:
        content = _sealed_anew(content)
    return bytes(content)


class _Base(NamedTuple):
    """A record of few seeds, as its bytes and as what they are made of."""

    content: bytes
    said: bytes
    groups: list[pa.Table]
    rows: list[dict[str, Any]]
    """Of the first group."""


@cache
def _base(path: Path) -> _Base:
    """Return a recorded run cut down to two seeds: what a reader does for each of ten it does for each of two."""
    whole = read_record(path)
    kept = whole.seeds[:2]
    said = whole.footer.facts(without={"runs", "null_metrics"}) | {"seeds": list(kept)}
    rows = [
        Row(**{name: row[name] for name in Row._fields})
        for row in whole.table.to_pylist()
        if row["metric"] not in METRICS and row["seed"] in (None, *kept)
    ]
    with tempfile.TemporaryDirectory() as folder:
        place = write_record(Path(folder) / path.name, rows=rows, metadata=said)
        file = pq.ParquetFile(place)
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        schema = pa.schema([field.with_nullable(True) for field in groups[0].schema])
        groups = [group.cast(schema) for group in groups]
        text = file.metadata.metadata[METADATA_KEY]
        return _Base(_written(groups, json.loads(text)), text, groups, groups[0].to_pylist())


def _broken(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        # half of the changes in the last tenth, where the footer is
        place = draw.randrange(len(changed) * (9 if draw.random() < 0.5 else 0) // 10, len(changed))
        change = draw.random()
        if change < 0.6:
            changed[place] = draw.randrange(256)
        elif change < 0.7:
            del changed[place : place + draw.randrange(1, 64)]
        elif change < 0.8:
            changed[place:place] = draw.randbytes(draw.randrange(1, 16))
        elif change < 0.9:
            changed[place : place + 4] = draw.choice([b"\xff\xff\xff\x7f", b"\x00" * 4, b"\xff" * 4])
        else:
            changed[place:place] = changed[max(0, place - draw.randrange(1, 64)) : place]
        if not changed:
            return b"PAR1"
    return bytes(changed)


def _sealed_anew(content: bytearray) -> bytearray:
    place = content.rfind(KEY.encode())
    if place < 0:
        return content
    start = place + len(KEY) + 2
    content[start : start + len(EMPTY)] = EMPTY.encode()
    try:
        return bytearray(sealed(bytes(content)))
    except ValueError:
        return content


def _written(groups: Sequence[pa.Table], said: Any) -> bytes:
    """Return a record of these rows and metadata, with a checksum that fits."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, groups[0].schema, compression="zstd", store_schema=False) as writer:
        for group in groups:
            writer.write_table(group)
        writer.add_key_value_metadata({METADATA_KEY.decode(): json.dumps(said), KEY: EMPTY})
    return sealed(sink.getvalue().to_pybytes())


def _spoil(said: Any, draw: random.Random) -> None:
    """Change, drop or add something at a random place of nested tables and lists."""
    while isinstance(said, dict | list) and said:
        key = draw.choice(list(said)) if isinstance(said, dict) else draw.randrange(len(said))
        if draw.random() < 0.5 and isinstance(said[key], dict | list) and said[key]:
            said = said[key]
            continue
        if draw.random() < 0.3:
            del said[key]
        else:
            said[key] = draw.choice(ODD)
        return


def _spoiled(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    key = draw.choice(list(row))
    value: Any
    if isinstance(row[key], str):
        value = draw.choice([None, "", "x" * 300, "a\nb", "accuracy", "bytes.x", "level.1.x"])
    else:
        value = draw.choice([None, -1, 0, 1, 2**31 - 1] + ([float("nan"), 1.5, -1e308] if key == "value" else []))
    return {**row, key: value}


def _toml(draw: random.Random) -> bytes:
    text = draw.choice(_DECLARATIONS).read_text(encoding="utf-8")
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(len(text) + 1)
        change = draw.random()
        if change < 0.4:
            text = text[:place] + draw.choice(PIECES) * draw.choice([1, 1, 1, 3, 400, 20_000]) + text[place:]
        elif change < 0.6:
            text = text[:place] + text[place + draw.randrange(1, 20) :]
        elif change < 0.8:
            lines = text.splitlines(keepends=True)
            text = "".join([*lines, draw.choice(lines)]) if lines else text
        else:
            text = text[:place] + chr(draw.randrange(1, 0xD800)) + text[place + 1 :]
    content = text.encode()
    return bytes(_broken(content, draw)) if draw.random() < 0.1 and content else content


if __name__ == "__main__":
    sys.exit(main())
