from __future__ import annotations

import pytest

import nlbench


def test_check_learner_returns_what_every_check_found():
    found = nlbench.check_learner("mlp", shape=(1, 4, 4), overrides={"learner.hidden": "[8]"}, device="cpu")
    assert found.passed
    assert not found.broken
    assert "class-il" in str(found)


def test_check_learner_refuses_what_cannot_be_made():
    with pytest.raises(nlbench.NlbenchError, match="Did you mean device"):
        nlbench.check_learner("mlp", devise="cpu")
