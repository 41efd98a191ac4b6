from __future__ import annotations

import numpy as np
from small_streams import declared_stream, running, small_tasks

from nlbench.plan import stream_from_arrays
from nlbench.streams.looking import look


def test_a_look_says_sizes_labels_order_and_drift() -> None:
    stream = declared_stream("split", tasks=5, class_order=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    found = look(stream)
    assert found.class_order == (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    assert [task.train for task in found.tasks] == [stream.train_size(task) for task in range(1, 6)]
    assert [task.labels for task in found.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    samples = found.tasks[0].samples
    assert samples is not None
    assert samples.shape == (8, 8, 8)
    assert (samples.min(), samples.max()) == (0.0, 1.0)
    assert found.tasks[0].drift == 0.0


def test_drift_is_what_was_declared() -> None:
    found = look(declared_stream("drifting", tasks=4, change="brightness", step=0.1))
    drifts = [task.drift for task in found.tasks]
    assert np.allclose(np.diff(drifts), drifts[1], atol=1e-5)
    assert drifts[1] > 0.2  # a tenth of the range is more than a fifth of the deviation
    assert found.faults == look(declared_stream("split", tasks=5)).faults


def test_pixels_in_another_order_are_shown_in_it() -> None:
    first, second = (task.samples for task in look(declared_stream("permuted", tasks=2)).tasks)
    assert first is not None
    assert second is not None
    assert np.allclose(np.sort(first.ravel()), np.sort(second.ravel()), atol=1e-5)
    assert not np.allclose(first, second, atol=1e-2)


def test_what_a_stream_should_not_be_is_said() -> None:
    tasks = small_tasks(3)
    assert look(running(stream_from_arrays("good", tasks))).faults == ()
    same = [tasks[0], tasks[1], tasks[1]]
    leaked = [tasks[0], (*tasks[1][:2], tasks[1][0][:5], tasks[1][1][:5]), tasks[2]]
    untaught = [tasks[0], (*tasks[1][:3], tasks[1][3] + 9), tasks[2]]
    for given, fault in (
        (same, "tasks 2 and 3 have the same test set"),
        (leaked, "task 2: 5 of 5 test samples are training samples too"),
        (untaught, "task 2 tests labels that no task teaches: 11, 12"),
    ):
        assert look(running(stream_from_arrays("bad", given))).faults == (fault,)


def test_tasks_that_recur_are_no_fault() -> None:
    assert not any("same" in fault for fault in look(declared_stream("permuted", tasks=4, recurrence={"different": 2})).faults)
