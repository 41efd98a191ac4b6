"""What a record says of itself in its footer: where its numbers come from, and what each execution ran on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import AfterValidator, AliasChoices, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from nlbench.errors import RecordError
from nlbench.escaping import LONGEST_NAME, name_fault
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION
from nlbench.specs.model import Strict
from nlbench.specs.problems import problems


def _fit(name: str) -> str:
    if rule := name_fault(name):
        raise PydanticCustomError("name_unfit", "{rule}", {"rule": rule})
    return name


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_fit)]
When = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
"""In UTC to the second, so that the order of texts is that of time."""
Facts = Annotated[dict[str, Any], Field(default_factory=dict)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class NotARecordError(RecordError):
    """A path that holds no record this version can read; readers of many paths skip it with a note."""


class Said(Strict, extra="allow"):
    """What a record says: each key that is named here has its type, and a later version may say more beside."""

    def facts(self, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return what it says as plain values, for showing and comparing; what it leaves out is left out."""
        return self.model_dump(exclude_unset=True, exclude=set(without))


class Project(Said):
    """The repository around the files of a user's own that a run was made of, or else around the folder that it was started in;
    null outside any. Dirty and of no commit: no commit has one of the files.
    """

    commit: str | None = None
    dirty: bool | None = None


class Environment(Said):
    """Where an execution ran; null is unknown."""

    commit: str | None = None
    cores: int | None = None
    cpu: str | None = None
    dirty: bool | None = None
    memory_bytes: int | None = None
    os: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    project: Project = Project()
    python: str | None = None

    @property
    def clean(self) -> bool:
        """Whether the code was a commit: the package's checkout, and the repository the run was started in."""
        return self.in_repository and not (self.dirty or self.project.dirty)

    @property
    def in_repository(self) -> bool:
        """Whether git answered for the code: there was a checkout of the package, or a repository that the run was started in;
        and a commit has every file of a user's own that it was made of.
        """
        answered = self.dirty is not None or self.project.dirty is not None
        return answered and not self.uncommitted

    @property
    def uncommitted(self) -> bool:
        """Whether no commit had every file of a user's own that it was made of."""
        return bool(self.project.dirty) and self.project.commit is None


class Check(Said):
    """What the gate allows where the record is the reference: a margin a metric, in its own unit."""

    __pydantic_extra__: dict[str, float] = Field(init=False)
    min_seeds: int | None = None

    @property
    def margins(self) -> dict[str, float]:
        """Every margin by its metric."""
        return dict(self.__pydantic_extra__)


class Resume(Said):
    """Where an interrupted execution went on, and when (UTC): so much of task `task` had been observed."""

    task: int
    passes: int
    batches: int
    created: When


class Diverged(Said):
    """A seed that an execution left out, because it diverged: where, and what was seen."""

    seed: int
    why: Name


class Execution(Said):
    """What one execution says: its seeds and what it ran on."""

    run: Name
    created: When
    seeds: Seeds
    backend: Name | None = None
    device: Name | None = None
    gpu: Name | None = None
    threads: int | None = None
    environment: Environment = Environment()
    resumes: list[Resume] = Field(default_factory=list)
    not_kept: Name | None = None
    """Why it kept no checkpoint, and so could not have been resumed."""
    diverged: list[Diverged] = Field(default_factory=list)
    """Seeds that began with these and are in no record: those that are, are not all there were."""
    files: dict[str, Name] = Field(default_factory=dict)
    """Where files of a user's own lay that it was made of, by the options and keys that named them, such as `model` or
    `stream.source`: from the folder that it was started in, and none outside."""
    class_orders: dict[Name, list[int]] = Field(default_factory=dict)
    """In which order classes were dealt out, by seed, or by "all"; nothing where none were, or as the data set numbers them."""


class Footer(Execution):
    """What a whole record says. What belongs to one execution stands at the top for the newest, and for each in `runs`."""

    schema_version: Annotated[int, Field(ge=1)]
    metric_versions: Annotated[int | dict[str, int], Field(validation_alias=AliasChoices("metric_versions", "metrics_version"))]
    """Of each metric that the file knows; of schema 1 one number, for all that it knows."""
    model: Name
    stream: Name
    scenario: Name
    n_tasks: Annotated[int, Field(ge=1)]
    fingerprint: Name
    protocol_version: int
    stream_digest: Name
    learner_digest: Name | None = None
    role: Name | None = None  # of the recipe: "naive", "joint" or "reset"; of protocol 1 never said
    source_digest: Name | None = None  # of protocol 1: one digest of all the code
    code: dict[Name, Name] = Field(default_factory=dict)  # digests by part
    terms: Facts
    evaluation: Facts
    conflict: bool = False  # whether a sample of one task has another right answer in another
    precision: Name = "float32"
    data: dict[Name, Name] = Field(default_factory=dict)  # checksums by source
    stream_spec: Facts
    learner_spec: Facts
    check: Check = Check()
    null_metrics: dict[str, str]
    runs: Annotated[list[Execution], Field(min_length=1)]

    @property
    def learner_kind(self) -> str:
        """What the learner is, such as `mlp` or `package.module:Class`; empty where that is not said."""
        learner = self.learner_spec.get("learner")
        return str(learner.get("kind", "")) if isinstance(learner, dict) else ""

    @property
    def lost(self) -> dict[int, str]:
        """Why seeds that were run are not among the record's, by seed: they diverged."""
        return {each.seed: each.why for run in self.runs for each in run.diverged if each.seed not in self.seeds}

    @property
    def shared(self) -> bool:
        """Whether all tasks ask for the same labels."""
        return self.scenario == "domain-il"

    @model_validator(mode="after")
    def _each_metric_has_a_version(self) -> Footer:
        if self.schema_version > 1 and isinstance(self.metric_versions, int):
            raise ValueError(f"metric_versions: must be a table of a version for each metric, got {self.metric_versions}")
        return self

    @model_validator(mode="after")
    def _seeds_agree(self) -> Footer:
        if not all(a < b for a, b in pairwise(self.seeds)):
            raise ValueError(f"seeds: must ascend, got {self.seeds}")
        executed = sorted(seed for run in self.runs for seed in run.seeds)
        if executed != self.seeds:
            raise ValueError(f"runs: must name each of the seeds {self.seeds} once, got {executed}")
        return self


# What the fingerprint covers or a later execution of the same record must share; all else belongs to one execution.
IDENTITY: Final = frozenset(
    {
        "model",
        "stream",
        "stream_digest",
        "scenario",
        "conflict",
        "fingerprint",
        "n_tasks",
        "protocol_version",
        "stream_spec",
        "learner_spec",
        "learner_digest",
        "data",
        "precision",
        "source_digest",
        "code",
        "terms",
        "evaluation",
    }
)


def differing_identity(first: Footer, second: Footer) -> list[str]:
    """Return the facts in which two footers differ that executions of one record share."""
    return sorted(name for name in IDENTITY if getattr(first, name) != getattr(second, name))


def of_execution(facts: Mapping[str, Any], path: Path) -> Footer:
    """Return the footer of a record that is to hold one execution, `facts` being all that is known of it.

    Raises RecordError with every broken rule.
    """
    own = {key: value for key, value in facts.items() if key not in IDENTITY}
    try:
        return Footer.model_validate({**facts, "null_metrics": {}, "runs": [own]})
    except ValidationError as error:
        raise RecordError("\n".join(problems(error, f"{path}: metadata", Footer))) from None


def parse(text: bytes, path: Path) -> Footer:
    """Return what a footer's JSON says. Raises NotARecordError with the first broken rule."""
    try:
        footer = Footer.model_validate_json(text)
    except ValidationError:
        raise _refusal(text, path) from None
    if footer.schema_version > SCHEMA_VERSION:
        raise _too_new(footer.schema_version, path)
    return footer


def _refusal(text: bytes, path: Path) -> NotARecordError:
    """Return why a footer is none, in Python's words for JSON's types."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return NotARecordError(f"{path}: its metadata is not JSON.")
    if not isinstance(said, dict):
        return NotARecordError(f"{path}: its metadata must be a JSON object, got {json.dumps(said)[:60]}.")
    version = said.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return _too_new(version, path)
    try:
        Footer.model_validate(said)
    except ValidationError as error:
        return NotARecordError(f"{problems(error, str(path), Footer)[0]}.")
    return NotARecordError(f"{path}: its metadata is not JSON.")  # such as NaN, which Python's reader takes


def _too_new(version: int, path: Path) -> NotARecordError:
    hint = "Install a newer nlbench to read it."
    return NotARecordError(f"{path} has schema version {version}, this version reads up to {SCHEMA_VERSION}.", hint)


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
