"""What an interrupted run leaves: one file, from which the same plan goes on.

The file is a line that names the format, the SHA-256 of the rest, and the rest: tensors as safetensors, each as its bytes, so
that no dtype is missing. One of them is JSON: what the others are, and where the run stood. It is read once, as a whole, and
looked into only if the sum is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import save as saved_arrays
from safetensors.torch import load as load_tensors
from torch import Tensor

from nlbench.errors import RecordError
from nlbench.escaping import printable
from nlbench.plan import Plan
from nlbench.protocol import Position, Progress
from nlbench.records import Row
from nlbench.records.footer import Name, Resume
from nlbench.records.store import replace_file
from nlbench.specs.model import Closed

FORMAT: Final = b"nlbench checkpoint 2\n"
_SUM: Final = 32
_FACTS: Final = "facts"
_LEARNER: Final = "learner/"
_LOOP: Final = "loop/"

Size = Annotated[int, Field(ge=0)]


class _Facts(Closed):
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
    """Of each its name, its dtype, its shape, and its axes as they lie in memory."""
    rows: list[Row]


class Saved(NamedTuple):
    """What a checkpoint holds.

    device, backend  what the learner ran on, such as "cuda", "triton"
    threads          on how many, as other numbers round otherwise
    resumes          where the run was resumed so far, for its record
    rows             all that was measured so far
    state            the learner's
    """

    device: str
    backend: str
    threads: int | None
    progress: Progress
    resumes: list[dict[str, Any]]
    rows: list[Row]
    state: dict[str, Tensor]


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
        packed = {str(number): _bytes(value) for number, value in enumerate(tensors.values())}
        facts = {
            "run": self.run,
            "device": saved.device,
            "backend": saved.backend,
            "threads": saved.threads,
            "position": saved.progress.position,
            "seconds": saved.progress.seconds,
            "mixes": saved.progress.mixes,
            "resumes": saved.resumes,
            "tensors": [[name, *_form(value)] for name, value in tensors.items()],
        }
        text = f'{json.dumps(facts)[:-1]}, "rows": {rows or json.dumps(saved.rows)}}}'.encode()
        rest = saved_arrays({**packed, _FACTS: np.frombuffer(text, np.uint8)})
        replace_file(self.path, b"".join((FORMAT, sha256(rest).digest(), rest)))

    def load(self) -> Saved | None:
        """Return what the file holds; None if there is none. Raises `RecordError` for a file that is not what was saved."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.refused(f"cannot be read: {error.strerror}") from None
        if not content.startswith(FORMAT):
            raise self.refused("cannot be read: it is none of this version")
        rest = memoryview(content)[len(FORMAT) + _SUM :]
        if sha256(rest).digest() != content[len(FORMAT) : len(FORMAT) + _SUM]:
            raise self.refused("cannot be read: it was damaged or cut short")
        try:
            packed = load_tensors(bytes(rest))
            facts = _Facts.model_validate_json(bytes(packed[_FACTS].numpy()))
            tensors = {name: _of_bytes(packed[str(i)], *form) for i, (name, *form) in enumerate(facts.tensors)}  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise self.refused(f"cannot be read: {printable(place)}: {printable(first['msg'])}") from None
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise self.refused(f"cannot be read: {type(error).__name__}: {printable(str(error))}") from None
        if facts.run != self.run:
            raise self.refused("is that of another run")
        progress = Progress(facts.position, facts.seconds, facts.mixes, _under(_LOOP, tensors))
        resumes = [each.model_dump() for each in facts.resumes]
        return Saved(facts.device, facts.backend, facts.threads, progress, resumes, facts.rows, _under(_LEARNER, tensors))

    def delete(self) -> None:
        """Remove the file. Raises `RecordError` where it cannot be."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(f"{self.path}: the checkpoint cannot be removed: {error.strerror}.", "Delete it.") from error

    def refused(self, why: str) -> RecordError:
        """Return the error that says why the file is of no use."""
        return RecordError(f"{self.path}: the checkpoint {why}.", "Delete it, or start anew with --force.")


def text(rows: Sequence[Row]) -> str:
    """Return rows as JSON, without the brackets around them all."""
    return json.dumps(rows)[1:-1]


def _form(value: Tensor) -> tuple[str, list[int], list[int]]:
    """Return what a tensor's bytes do not say: its dtype, its shape, and its axes from the widest step in memory to the
    narrowest, in which order they are written: products of another layout are rounded otherwise.
    """
    steps = value.stride()
    axes = sorted(range(value.ndim), key=lambda axis: -steps[axis])
    return str(value.dtype).removeprefix("torch."), list(value.shape), axes


def _bytes(value: Tensor) -> np.ndarray:
    _, _, axes = _form(value)
    plain = value.detach().resolve_conj().resolve_neg().permute(axes).contiguous().cpu()
    return plain.reshape(-1).view(torch.uint8).numpy()


def _of_bytes(content: Tensor, dtype: str, shape: Sequence[int], axes: Sequence[int]) -> Tensor:
    back = [axes.index(axis) for axis in range(len(axes))]
    return content.view(getattr(torch, dtype)).reshape([shape[axis] for axis in axes]).permute(back)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
