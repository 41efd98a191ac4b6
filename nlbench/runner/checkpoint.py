"""What an interrupted run leaves: one file, from which the same plan goes on.

The file is a line that names the format, the SHA-256 of the rest, and the rest: tensors, packed. One of them is JSON: what the
others are, and where the run stood. It is opened once, as it is at one moment, and looked into only if the sum is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NamedTuple

import numpy as np
from pydantic import Field, ValidationError
from torch import Tensor

from nlbench.errors import RecordError
from nlbench.escaping import printable
from nlbench.plan import Plan
from nlbench.protocol import Position, Progress
from nlbench.records import Row
from nlbench.records.footer import Name, Resume
from nlbench.records.storage import storage
from nlbench.records.store import replace_file
from nlbench.runner.packing import Packed, Size, Stored, content, form_of, packed
from nlbench.specs.model import Strict

FORMAT: Final = b"nlbench checkpoint 2\n"
_SUM: Final = 32
_AT_ONCE: Final = 2**18
"""Bytes summed up at once."""
_FACTS: Final = "facts"
_LEARNER: Final = "learner/"
_LOOP: Final = "loop/"


class _Facts(Strict):
    """What a checkpoint says in JSON."""

    run: Name
    device: Name
    backend: Name
    threads: Annotated[int, Field(ge=1)] | None
    position: Position
    seconds: Annotated[float, Field(ge=0)]
    mixes: bool
    resumes: list[Resume]
    tensors: list[tuple[str, str, list[Size], list[Size]]]
    """Of each its name and its form."""
    rows: list[Row]


class Saved(NamedTuple):
    """What a checkpoint holds.

    device, backend  what the learner ran on, such as "cuda", "triton"
    threads          on how many, as other numbers round otherwise
    resumes          where the run was resumed so far, for its record
    rows             all that was measured so far
    state            the learner's; of an open file, each tensor read whenever it is asked for
    """

    device: str
    backend: str
    threads: int | None
    progress: Progress
    resumes: list[dict[str, Any]]
    rows: list[Row]
    state: Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The place of the checkpoint of exactly one plan, seeds included."""

    path: Path
    run: Name

    @classmethod
    def of(cls, plan: Plan, results: Path) -> Checkpoint:
        """Return the place of a plan's checkpoint."""
        return cls(plan.checkpoint_path(results), plan.run)

    def save(self, saved: Saved, rows: str | None = None) -> None:
        """Replace the file atomically; `rows` are those of `saved` as JSON where they were written already."""
        tensors = {
            **{f"{_LEARNER}{name}": value for name, value in saved.state.items()},
            **{f"{_LOOP}{name}": value for name, value in saved.progress.held.items()},
        }
        arrays = {str(number): content(value) for number, value in enumerate(tensors.values())}
        facts = {
            "run": self.run,
            "device": saved.device,
            "backend": saved.backend,
            "threads": saved.threads,
            "position": saved.progress.position,
            "seconds": saved.progress.seconds,
            "mixes": saved.progress.mixes,
            "resumes": saved.resumes,
            "tensors": [[name, *form_of(value)] for name, value in tensors.items()],
        }
        text = f'{json.dumps(facts)[:-1]}, "rows": {rows or json.dumps(saved.rows)}}}'.encode()
        rest = packed({**arrays, _FACTS: np.frombuffer(text, np.uint8)})
        total = sha256()
        for part in rest:
            total.update(part)
        replace_file(self.path, FORMAT, total.digest(), *rest)

    def load(self) -> Saved | None:
        """Return what the file holds; None if there is none. Raises `RecordError` for a file that is not what was saved."""
        with self.opened() as saved:
            try:
                return None if saved is None else saved._replace(state=dict(saved.state))
            except (OSError, RuntimeError) as error:  # of a shape that no tensor has
                raise self.refused(f"cannot be read: {printable(str(error))}") from None

    @contextmanager
    def opened(self) -> Iterator[Saved | None]:
        """Give what `load` returns, the state still in the file."""
        try:
            file = storage(self.path).open(self.path)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise self.refused(f"cannot be read: {error.strerror}") from None
        with file:
            yield self._read(file)

    def _read(self, file: BinaryIO) -> Saved:
        try:
            if file.read(len(FORMAT)) != FORMAT:
                raise self.refused("cannot be read: it is none of this version")
            if not _has_sum(file, file.read(_SUM)):
                raise self.refused("cannot be read: it was damaged or cut short")
            rest = Packed(file)
            facts = _Facts.model_validate_json(rest.read(_FACTS))
            stored = Stored(rest, {name: (str(i), tuple(form)) for i, (name, *form) in enumerate(facts.tensors)})  # type: ignore[misc]
            held = dict(stored.under(_LOOP))
        except OSError as error:
            raise self.refused(f"cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise self.refused(f"cannot be read: {printable(place)}: {printable(first['msg'])}") from None
        except (LookupError, ValueError) as error:
            raise self.refused(f"cannot be read: {printable(str(error))}") from None
        if facts.run != self.run:
            raise self.refused("is that of another run")
        progress = Progress(facts.position, facts.seconds, facts.mixes, held)
        resumes = [each.model_dump() for each in facts.resumes]
        return Saved(facts.device, facts.backend, facts.threads, progress, resumes, facts.rows, stored.under(_LEARNER))

    def delete(self) -> None:
        """Remove the file. Raises `RecordError` where it cannot be."""
        try:
            storage(self.path).delete(self.path)
        except OSError as error:
            raise RecordError(f"{self.path}: the checkpoint cannot be removed: {error.strerror}.", "Delete it.") from error

    def refused(self, why: str) -> RecordError:
        """Return the error that says why the file is of no use."""
        return RecordError(f"{self.path}: the checkpoint {why}.", "Delete it, or start anew with --force.")


def text(rows: Sequence[Row]) -> str:
    """Return rows as JSON, without the brackets around them all."""
    return json.dumps(rows)[1:-1]


def _has_sum(file: BinaryIO, expected: bytes) -> bool:
    """Return whether a file has this sum from where it stands to its end; it is left there."""
    start, total = file.tell(), sha256()
    while part := file.read(_AT_ONCE):
        total.update(part)
    file.seek(start)
    return total.digest() == expected
