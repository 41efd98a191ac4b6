from __future__ import annotations

import pytest

import nlbench


def test_load_learner_takes_facts_of_the_machine_and_refuses_other_keywords(tmp_path):
    with pytest.raises(nlbench.NlbenchError, match="Did you mean device"):
        nlbench.load_learner(tmp_path / "x", devise="cpu")
    with pytest.raises(nlbench.NlbenchError, match="cannot be read"):
        nlbench.load_learner(tmp_path / "x", device="cpu")
