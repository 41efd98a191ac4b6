"""nlbench flops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Records, WithReference


def flops(
    paths: Records,
    out: Annotated[Path, typer.Option(help="The file of counts; those that it holds are not made again.")] = Path("flops.json"),
    data: Data = None,
    with_reference: WithReference = False,
) -> None:
    """Count the FLOPs that the runs of records trained with, into a file that compare and report read.

    nlbench flops results --out flops.json, then: nlbench compare results --flops flops.json --within flops=2T

    Counted on one seed, in plain torch on the CPU: about as long as training it there. Interrupt it whenever you like.

    Exit 0: all are counted. 2: a record cannot be run again here, so that its FLOPs are not known.
    """
    from nlbench import api
    from nlbench.display import files

    counts = api.count_flops(paths, out, data=data, with_reference=with_reference, listen=files.counted)
    files.counts(counts)
    if counts.unknown:
        raise typer.Exit(2)
