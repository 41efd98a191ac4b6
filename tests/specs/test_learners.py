from __future__ import annotations

from typing import Any

from nlbench.specs import learner_spec


def recipe(learner: dict[str, Any], **extra: Any) -> Any:
    name = extra.pop("name", "r")
    return learner_spec({"learner": learner, **extra}, "r", name=name, source_digest=extra.pop("source_digest", ""))


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
