"""Declarations: TOML -> frozen models, their canonical digests, and the data sets they may name. Imports no torch."""

from nlbench.specs.learners import BUILT_IN, LearnerSpec
from nlbench.specs.loading import (
    apply_overrides,
    learner_spec,
    listed,
    mistyped_streams,
    read_table,
    stream_spec,
    toml_value,
    validate_file,
)
from nlbench.specs.model import Closed, canonical, digest
from nlbench.specs.sources import SOURCES, Source
from nlbench.specs.streams import StreamSpec

__all__ = [
    "BUILT_IN",
    "SOURCES",
    "Closed",
    "LearnerSpec",
    "Source",
    "StreamSpec",
    "apply_overrides",
    "canonical",
    "digest",
    "learner_spec",
    "listed",
    "mistyped_streams",
    "read_table",
    "stream_spec",
    "toml_value",
    "validate_file",
]
