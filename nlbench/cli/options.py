"""Options that several commands take, and how their values are written."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.places import place


def one_of(kinds: type[StrEnum], what: str) -> dict[str, Any]:
    """Return how an option reads one of some kinds; any other is an UnknownNameError that names the nearest, or them all."""

    def read(name: str) -> StrEnum:
        if name not in {kind.value for kind in kinds}:
            raise UnknownNameError(what, name, [kind.value for kind in kinds])
        return kinds(name)

    read.__name__ = "|".join(kind.value for kind in kinds)  # which help shows as the option's type
    return {"parser": read}


class Format(StrEnum):
    """How most commands print."""

    table = "table"
    json = "json"


A_PLACE: dict[str, Any] = {"parser": place, "metavar": "PATH"}
"""How an argument or option reads a path that may lie elsewhere, such as s3://bucket/folder."""

Results = Annotated[Path, typer.Option(**A_PLACE, help="Folder of records, here or s3://bucket/folder.")]
Data = Annotated[Path | None, typer.Option(help="Folder of data sets; otherwise NLBENCH_DATA, then the user cache.")]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, or bf16: matrix products in bfloat16, all else in float32; other numbers, so another record. For learners "
        "that follow gradients (mlp, er, …). Pays where products take most of the time (many seeds, wide layers) and the "
        "processor has units for them."
    ),
]
Records = Annotated[list[Path], typer.Argument(**A_PLACE, help="Records, folders of records, or both.")]
Baseline = Annotated[str | None, typer.Option(help="Test every other model against this one, on common seeds.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Metrics to show; may be repeated. See: nlbench list metrics.")
]
WithReference = Annotated[bool, typer.Option("--with-reference", help="Keep records of the folder reference too.")]
Flops = Annotated[Path | None, typer.Option(help="Training FLOPs as nlbench flops counted them: another cost, and its front.")]
WithinBudget = Annotated[
    list[str] | None,
    typer.Option("--within", help="Leave out who takes more: bytes=10MB, seconds=60 or flops=2T (of a seed); may be repeated."),
]
Stream = Annotated[str, typer.Option("--stream", "-s", help="A stream's name or file.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads; otherwise OMP_NUM_THREADS, or the cores, shared with runs that are going on."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def overrides(pairs: Sequence[str] | None, option: str = "--set") -> dict[str, str]:
    """Return `key=value` options as a dict. Raises NlbenchError, which names the option, for what is none."""
    wrong = [pair for pair in pairs or () if "=" not in pair]
    if wrong:
        raise NlbenchError(f"{option} {wrong[0]}: must be key=value, such as learner.rate=0.05.")
    return {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs or ())}
