"""The metadata in a record's footer: what it must say before anything is read by it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import Field, ValidationError, model_validator

from nlbench.errors import RecordError
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION
from nlbench.specs.loading import problems
from nlbench.specs.model import Closed

Text = Annotated[str, Field(min_length=1)]
Facts = Annotated[dict[str, Any], Field(default_factory=dict)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class NotARecordError(RecordError):
    """A path that holds no record this version can read; readers of many paths skip it with a note."""


class Execution(Closed, extra="allow"):
    """One execution under `runs`."""

    run: Text
    seeds: Seeds
    environment: Facts


class Footer(Closed, extra="allow"):
    """What every reader relies on; other keys may stand beside."""

    schema_version: Annotated[int, Field(ge=1)]
    metrics_version: int
    protocol_version: int
    run: Text
    model: Text
    stream: Text
    stream_digest: Text
    scenario: Text
    fingerprint: Text
    created: Text
    seeds: Seeds
    n_tasks: Annotated[int, Field(ge=1)]
    null_metrics: dict[str, str]
    runs: Annotated[list[Execution], Field(min_length=1)]
    stream_spec: Facts
    learner_spec: Facts
    data: dict[str, str] = Field(default_factory=dict)
    environment: Facts
    check: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seeds_agree(self) -> Footer:
        if not all(a < b for a, b in pairwise(self.seeds)):
            raise ValueError(f"seeds: must ascend, got {self.seeds}")
        executed = sorted(seed for run in self.runs for seed in run.seeds)
        if executed != self.seeds:
            raise ValueError(f"runs: must name each of the seeds {self.seeds} once, got {executed}")
        return self


def parse(text: bytes, path: Path) -> dict[str, Any]:
    """Return the metadata that a footer's JSON holds. Raises NotARecordError with the first broken rule."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotARecordError(f"{path}: its metadata is not JSON.") from error
    if not isinstance(metadata, dict):
        raise NotARecordError(f"{path}: its metadata must be a JSON object, got {json.dumps(metadata)[:60]}.")
    version = metadata.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        hint = "Install a newer nlbench to read it."
        raise NotARecordError(f"{path} has schema version {version}, this version reads up to {SCHEMA_VERSION}.", hint)
    try:
        Footer.model_validate(metadata)
    except ValidationError as error:
        raise NotARecordError(f"{problems(error, str(path), Footer)[0]}.") from None
    return metadata


def check_columns(schema: pa.Schema, path: Path) -> None:
    """Raise NotARecordError for a column that is missing or of another kind than the record schema's."""
    for field in SCHEMA:
        kind, matches = _KINDS[field.type]
        index = schema.get_field_index(field.name)
        if index < 0 or not matches(schema.field(index).type):
            found = "none" if index < 0 else schema.field(index).type
            raise NotARecordError(f"{path}: column {field.name}: must hold {kind}, got {found}.")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind)


_KINDS: Final = {
    pa.string(): ("strings", _is_text),
    pa.int64(): ("integers", pa.types.is_integer),
    pa.int32(): ("integers", pa.types.is_integer),
    pa.float64(): ("64-bit floats", pa.types.is_float64),
}
