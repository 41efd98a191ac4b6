"""nlbench check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE, Format, one_of
from nlbench.errors import NlbenchError


def check(
    records: Annotated[list[Path], typer.Argument(**A_PLACE, help="Records, or folders of records, to judge.")],
    against: Annotated[Path | None, typer.Option(**A_PLACE, help="A reference record or a folder of them.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Make each record the reference if it may be and is better.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Judge and ask for this learner alone; may be repeated.")
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option("--stream", "-s", metavar="NAME", help="Judge and ask on this stream alone; may be repeated."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also append Markdown here, such as $GITHUB_STEP_SUMMARY.")] = None,
    format: Annotated[Format, typer.Option(help="Output format.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Judge records against their references: the gate on forgetting.

    Of several records of a learner the newest decides. A learner that has a reference and no record is missing, also on a stream
    of which no record is given at all; --only and --stream narrow what is asked for.

    Exit 0: every metric with a margin is ok or better. 1: one is worse. 2: it cannot be judged.
    """
    from nlbench import api
    from nlbench.display import verdicts

    if update:
        if junit or markdown or only or stream or format == Format.json:
            raise NlbenchError(
                "--update writes no report: it takes no --junit, no --markdown, no --only, no --stream and no --format json.",
                "Run check with these first, then check --update.",
            )
        verdicts.updates(api.update_references(records, against))
        return
    judgements = api.check_all(records, against=against, only=only or (), streams=stream or (), junit=junit, markdown=markdown)
    verdicts.judgements(judgements, format == Format.json)
    raise typer.Exit(api.exit_status(judgements))
