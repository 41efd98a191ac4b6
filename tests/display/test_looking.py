from __future__ import annotations

import numpy as np
import pytest
from consoles import written

from nlbench.display import looking
from nlbench.streams.looking import Look, TaskLook

IMAGE = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)


def test_a_look_is_a_table_of_tasks_samples_and_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = (TaskLook(1, 1200, 30, (0, 1, 2, 5), 0.0, IMAGE), TaskLook(2, 20, 10, (7,), 1.25, None))
    found = Look("s[1]", "digest", 3, "class-il", (1, 8, 8), 8, (1, 0, 2), tasks, ("tasks 1 and 2 have the same test set",))
    with written(monkeypatch, looking, "out", width=100) as text:
        looking.look(found)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[0] == "s[1]: 3 tasks, class-il, samples 1 x 8 x 8, 8 logits"
    assert lines[1] == "class order 1, 0, 2"
    assert [line.split() for line in lines[3:5]] == [["1", "1,200", "30", "0.00", "0-2,", "5"], ["2", "20", "10", "1.25", "7"]]
    assert lines[5] == "and 1 more"
    assert lines[-1] == "tasks 1 and 2 have the same test set."


def test_names_of_labels_are_told_up_to_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"n{label}" for label in range(22))
    found = Look("s", "digest", 1, "class-il", (3,), 22, (), (TaskLook(1, 9, 9, (0,), 0.0, None),), (), names)
    with written(monkeypatch, looking, "out", width=100) as text:
        looking.look(found)
    line = text.getvalue().splitlines()[1]
    assert line.startswith("labels 0 n0, 1 n1, ")
    assert line.endswith(", 19 n19 and 2 more")


def test_samples_are_drawn_in_shades_or_in_signs_two_rows_a_line() -> None:
    signs = looking.drawn(IMAGE, coloured=False).plain.splitlines()
    assert len(signs) == 4
    assert all(len(line) == 10 for line in signs)
    assert (signs[0][0], signs[-1].rstrip()[-1]) == (".", "%")
    shades = looking.drawn(IMAGE, coloured=True)
    assert set(shades.plain) == {"\N{UPPER HALF BLOCK}", " ", "\n"}
    first = shades.spans[0].style
    assert "rgb(0,0,0)" in str(first)
    large = np.zeros((2, 28, 28), np.float32)
    assert max(map(len, looking.drawn(large, coloured=False).plain.splitlines())) == 2 * (14 + 2)
