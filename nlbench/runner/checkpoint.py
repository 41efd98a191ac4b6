"""What a killed run leaves: one file at its last task boundary, from which the same plan goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nlbench.errors import RecordError
from nlbench.plan import Plan
from nlbench.records import Row


@dataclass(frozen=True)
class Checkpoint:
    """One file at the last task boundary: the learner's tensors, and the rows so far in its header."""

    path: Path
    run: str

    @classmethod
    def of(cls, plan: Plan, results: Path) -> Checkpoint:
        """Return the place of the checkpoint of exactly this plan, seeds included."""
        run = blake2b(f"{plan.fingerprint}/{plan.seeds}".encode(), digest_size=6).hexdigest()
        return cls(results / ".checkpoints" / f"{plan.model}.{plan.stream_name}.{run}.safetensors", run)

    def check_writable(self) -> None:
        """Raise `RecordError` now rather than after the work if results cannot be written."""
        probe = self.path.with_suffix(f".{os.getpid()}.probe")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise RecordError(
                f"{self.path.parent.parent}: results cannot be written: {error.strerror}.", "Name another folder with --results."
            ) from None

    def save(self, texts: Sequence[str], state: dict[str, Tensor]) -> None:
        """Replace the file atomically; `texts` are the rows so far as JSON, a part a boundary."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        part = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            save_file(tensors, part, metadata={"rows": f"[{','.join(texts)}]"})
            part.replace(self.path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise RecordError(
                f"{self.path}: the checkpoint cannot be written: {error}.",
                "Free some space or name another folder with --results.",
            ) from None

    def load(self) -> tuple[list[Row], int | None, dict[str, Tensor]]:
        """Return the rows, the tasks completed and the learner's state; nothing if there is no checkpoint."""
        if not self.path.is_file():
            return [], None, {}
        try:
            with safe_open(self.path, framework="pt") as file:
                rows = [Row(*row) for row in json.loads(file.metadata()["rows"])]
                return rows, rows[-1].after_task, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{self.path}: the checkpoint cannot be read: {error}.", "Delete it, or start anew with --force."
            ) from None

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def text(rows: Sequence[Row]) -> str:
    """Return rows as JSON, without the brackets around them all."""
    return json.dumps(rows)[1:-1]
