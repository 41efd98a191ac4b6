from __future__ import annotations

from typing import Any

from nlbench.specs import learner_spec


def recipe(learner: dict[str, Any], **extra: Any) -> Any:
    name = extra.pop("name", "r")
    return learner_spec({"learner": learner, **extra}, "r", name=name)


def test_identity_is_what_changes_results_and_nothing_else() -> None:
    same = recipe({"kind": "mlp"}).digest
    assert recipe({"kind": "mlp"}, name="other", title="x", provenance={"rate": "a paper"}).digest == same
    assert recipe({"kind": "mlp", "rate": 0.1, "hidden": [256, 256]}).digest == same  # the defaults
    assert recipe({"kind": "mlp", "rate": 0.2}).digest != same
    assert recipe({"kind": "mlp"}, batch=16).digest == same  # it is of the terms
    assert recipe({"kind": "mlp"}, presents="cumulative").digest != same
    assert recipe({"kind": "./folder/a.py:A"}).digest == recipe({"kind": "../other/a.py:A"}).digest  # wherever it lies
    assert recipe({"kind": "./a.py:A"}).digest != recipe({"kind": "./b.py:A"}).digest
