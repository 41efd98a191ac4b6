from __future__ import annotations

from typing import Any

from nlbench.learners import LEARNERS
from nlbench.specs import BUILT_IN, learner_spec


def recipe(learner: dict[str, Any], **extra: Any) -> Any:
    name = extra.pop("name", "r")
    return learner_spec({"learner": learner, **extra}, "r", name=name, source_digest=extra.pop("source_digest", ""))


def test_every_declared_kind_has_a_class_and_every_class_a_declaration() -> None:
    assert BUILT_IN.keys() == LEARNERS.keys()
    assert all(BUILT_IN[kind].model_validate({"kind": kind}).kind == kind for kind in BUILT_IN)


def test_identity_is_what_changes_results_and_nothing_else() -> None:
    same = recipe({"kind": "mlp"}).digest
    assert recipe({"kind": "mlp"}, name="other", title="x", provenance={"rate": "a paper"}).digest == same
    assert recipe({"kind": "mlp", "rate": 0.1, "hidden": [256, 256]}).digest == same  # the defaults
    assert recipe({"kind": "mlp", "rate": 0.2}).digest != same
    assert recipe({"kind": "mlp"}, batch=16).digest != same
    assert recipe({"kind": "mlp"}, presents="cumulative").digest != same
    external = {"learner": {"kind": "./a.py:A"}}
    digests = {learner_spec(external, "r", name="A", source_digest=text).digest for text in ("", "1", "2")}
    assert len(digests) == 3
