"""Which tasks an evaluation policy measures at each boundary, and how it may be spelled."""

from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.protocol import evaluated_tasks
from nlbench.specs import stream_spec

MEASURED = {
    "full": [[1, 2, 3, 4]] * 5,
    "seen": [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]],
    "final": [[], [], [], [], [1, 2, 3, 4]],
    "window:2": [[], [1], [1, 2], [2, 3], [1, 2, 3, 4]],
    "window:9": [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]],
}


@pytest.mark.parametrize("policy", MEASURED)
def test_what_is_measured_after_each_of_four_tasks(policy):
    assert [list(evaluated_tasks(policy, task, 4)) for task in range(5)] == MEASURED[policy]


@pytest.mark.parametrize("policy", ["window:0", "window", "windows:2", "all", "window:-1", ""])
def test_another_spelling_is_refused_in_words(policy):
    stream, protocol = {"kind": "split", "source": "digits", "tasks": 5}, {"batch": 8, "evaluate": policy}
    with pytest.raises(SpecError, match=r"protocol\.evaluate: must be full, seen, final or window:K with K >= 1, got"):
        stream_spec({"title": "t", "stream": stream, "protocol": protocol}, "t.toml")
