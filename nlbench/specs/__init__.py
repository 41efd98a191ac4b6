"""Declarations: TOML -> frozen models, their canonical digests. Imports no torch."""

from nlbench.specs.external import own_config
from nlbench.specs.kinds import ExternalConfig, KindOf
from nlbench.specs.learners import LearnerSpec
from nlbench.specs.loading import (
    apply_overrides,
    learner_spec,
    listed,
    read_table,
    stream_spec,
    toml_value,
    validate,
)
from nlbench.specs.model import Closed, canonical, digest
from nlbench.specs.streams import StreamConfig, StreamSpec

__all__ = [
    "Closed",
    "ExternalConfig",
    "KindOf",
    "LearnerSpec",
    "StreamConfig",
    "StreamSpec",
    "apply_overrides",
    "canonical",
    "digest",
    "learner_spec",
    "listed",
    "own_config",
    "read_table",
    "stream_spec",
    "toml_value",
    "validate",
]
