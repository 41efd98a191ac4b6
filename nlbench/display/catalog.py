"""What there is to choose from, and whether it is sound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from nlbench import catalog as catalogs
from nlbench import metrics as definitions
from nlbench import specs
from nlbench.display.console import flat, lay_out, mean_text, note, out, write_json
from nlbench.display.records import measured, plain, record
from nlbench.errors import DataError, NlbenchError, SpecError, UnknownNameError
from nlbench.plan import source_digest
from nlbench.records import Record, read_record, read_records


def catalog(what: str, results: Path) -> None:
    """Print what there is to choose from."""
    if what in ("all", "models"):
        _names("models", [(name, _title("model", name)) for name in catalogs.names("model")])
    if what in ("all", "streams"):
        _names("streams", [(name, _title("stream", name)) for name in catalogs.names("stream")])
    if what in ("all", "metrics"):
        _metrics()
    if what in ("all", "records"):
        _records(results)


def _title(kind: catalogs.Kind, name: str) -> str:
    return str(specs.read_table(catalogs.find(kind, name)).get("title", ""))


def _names(title: str, rows: Sequence[tuple[str, str]]) -> None:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    for row in rows:
        grid.add_row(*map(escape, row))
    lay_out(out, grid)
    out.print()


def _metrics() -> None:
    grid = Table(title="metrics", title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in ("name", "better", "formula and source"):
        grid.add_column(column, no_wrap=column == "name")
    for metric in definitions.METRICS.values():
        grid.add_row(metric.name, metric.better, f"{escape(metric.formula)}  [dim]{escape(metric.source)}[/]")
    lay_out(out, grid)
    out.print()


def _records(results: Path) -> None:
    if not results.is_dir() or not any(results.glob("*.parquet")):
        out.print(f"no records in {results} yet: nlbench run --model hope --stream split-digits", markup=False)
        return
    found, notes = read_records([results])
    grid = Table(
        title=f"records in {escape(str(results))}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for column in ("model", "stream", "scenario", "seeds", "average accuracy", "forgetting", "file"):
        grid.add_column(column, no_wrap=column != "file", overflow="fold")  # a file's name is there to be copied
    for item in found:
        names = definitions.with_stand_in(("average_accuracy", "forgetting"), partial(measured, item))
        shown = [mean_text(list(item.metric(name).values())) for name in names]
        shown[1] += " (first)" if "forgetting_first" in names else ""
        grid.add_row(*map(escape, (item.model, item.stream, item.scenario, str(len(item.seeds)), *shown, item.path.name)))
    lay_out(out, grid)
    for remark in notes:
        note(str(remark))


def show(names: Sequence[str], as_json: bool) -> None:
    """Print declarations, and records with their provenance; as JSON, one as it is and several as a list."""
    found = [read_record(name) if name.endswith(".parquet") or Path(name).is_dir() else _declared(name) for name in names]
    if as_json:
        facts = [
            _plain_declaration(one) if isinstance(one, Path) else {**plain(one), "metadata": one.footer.facts()} for one in found
        ]
        write_json(facts if len(facts) > 1 else facts[0])
        return
    for one in found:
        if isinstance(one, Path):
            out.print(f"[dim]{specs.validate_file(one)}[/] [bold]{escape(one.stem)}[/]")
            text = one.read_text(encoding="utf-8").strip()
            out.print(Syntax(text, "toml", background_color="default", word_wrap=True))
        else:
            record(one)
            _facts(one)


def _plain_declaration(path: Path) -> dict[str, Any]:
    return {"kind": specs.validate_file(path), "name": path.stem, "declaration": specs.read_table(path)}


def _declared(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        return catalogs.find("model", name)
    if name in catalogs.names("stream"):
        return catalogs.find("stream", name)
    if name in catalogs.names("model"):
        return catalogs.find("model", name)
    raise UnknownNameError("model, stream or record", name, [*catalogs.names("model"), *catalogs.names("stream")])


def _facts(found: Record) -> None:
    grid = Table(title="provenance", title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column()
    for key, value in sorted(flat(found.footer.facts(without={"runs"}))):
        grid.add_row(escape(key), escape(str(value)))
    out.print()
    lay_out(out, grid)


def validate(files: Sequence[Path]) -> None:
    """Check declarations and records; print one line each. Raises `SpecError` with every broken rule of every file."""
    problems: list[str] = []
    for path in files:
        try:
            kind = "record" if path.suffix == ".parquet" else specs.validate_file(path, catalogs.names("stream"))
            if kind == "record":
                read_record(path)
            elif kind == "learner":
                source_digest(specs.read_table(path))  # of an external one, whose file must be there
            out.print(f"{path}: a {kind}, no rule broken", markup=False, soft_wrap=True)
        except SpecError as error:
            problems += error.problems
        except NlbenchError as error:
            problems.append(str(error))
    if problems:
        raise SpecError(problems)


def data(names: Sequence[str] | None, folder: Path | None, *, download: bool) -> None:
    """Fetch or verify data sets and print where each lies. Raises the first error after all were tried."""
    from nlbench import sources
    from nlbench.errors import UnknownNameError

    unknown = [name for name in names or () if name not in specs.SOURCES]
    if unknown:
        raise UnknownNameError("data set", unknown[0], specs.SOURCES)
    problems = []
    for name in names or list(specs.SOURCES):
        try:
            found = (sources.fetch if download else sources.verify)(name, folder)
            out.print(f"{name}: {len(found)} files verified in {next(iter(found.values())).parent}", markup=False, soft_wrap=True)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
