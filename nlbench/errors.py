"""The errors a user can meet. Each says what is wrong, where, and the way out; the command line prints them in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from signal import SIGINT
from traceback import TracebackException, extract_tb
from types import TracebackType
from typing import Any


class NlbenchError(Exception):
    """Something the user can mend. `message` names the place, the rule and the value; `hint` names the way out."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Remark(UserWarning):
    """What the user should know and need not mend; the command line prints it in one line."""


@contextmanager
def remarks_told(tell: Callable[[str], object]) -> Iterator[None]:
    """Have each remark told once in place of a warning, while this lasts."""
    with warnings.catch_warnings():
        shown = warnings.showwarning
        told: set[str] = set()

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, Remark):
                shown(message, category, *place)
            elif str(message) not in told:
                told.add(str(message))
                tell(str(message))

        warnings.showwarning = show  # type: ignore[assignment]
        yield


class SpecError(NlbenchError):
    """A declaration breaks its rules. `problems` holds every broken rule as `file: table.key: rule, got value`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class UnknownNameError(NlbenchError):
    """A name that no table or folder holds; `else_` is what else may be meant, after the nearest of the known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], else_: str = "") -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=3, cutoff=0.5) or [one for one in known if name and name in one][:3]
        nearest = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}." if known else ""
        super().__init__(f"unknown {kind} {name!r}.", f"{nearest} {else_}".strip())


class DataError(NlbenchError):
    """A data set is missing or is not what its checksum says."""


class RecordError(NlbenchError):
    """A file is not a record, or a record contradicts itself or another."""


class BackendError(NlbenchError):
    """A backend or device that was asked for cannot run here."""


class NotFiniteError(NlbenchError):
    """A loss or a logit became NaN or infinite while learning; `diverged` says of each such seed where and what, as far as it is
    known.
    """

    def __init__(self, message: str, hint: str = "", diverged: Mapping[int, str] | None = None) -> None:
        super().__init__(message, hint)
        self.diverged = dict(diverged or {})


class RunningError(NlbenchError):
    """Another process is at the very run that was asked for."""


class InterruptedRunError(NlbenchError):
    """A signal stopped a run; what it finished is kept. The exit code is the one that shells give for the signal."""

    exit_code = 128 + SIGINT

    def __init__(self, message: str, hint: str = "", signal: int = SIGINT) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal


class ComparisonError(NlbenchError):
    """Records that cannot be compared, or a question they cannot answer."""


@dataclass(frozen=True)
class Blamed:
    """Turns what somebody else's code raises, SystemExit included, into an error that names it and its innermost line."""

    place: str
    """Who is called, such as `./file.py:Class.observe`."""
    file: str = ""
    """The source file in which the line is looked for."""
    remark: str = ""
    """What those who write such code should know."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or error is None or isinstance(error, NlbenchError | KeyboardInterrupt):
            return
        lines = [frame.lineno for frame in extract_tb(trace) if frame.filename == self.file]
        line = f" ({Path(self.file).name}, line {lines[-1]})" if lines else ""
        raised = " ".join(f"{kind.__name__}: {TracebackException(kind, error, None)}".split()).removesuffix(":")
        raise NlbenchError(
            f"{self.place} raised {raised}{line}.", f"{self.remark} Mend it; --debug shows the traceback.".strip()
        ) from error
