from __future__ import annotations

import numpy as np
import torch

from nlbench.conformance.material import SHAPE, TASKS, TEST, TRAIN, Candidate, made_stream
from nlbench.plan import Machine


def test_a_blind_stream_shows_the_same_of_its_first_task_and_other_things_of_the_rest():
    plain, blind = (made_stream(SHAPE, "class-il", boundaries=False, blind=blind).source.tasks for blind in (False, True))
    for part in (0, 1, 2):
        assert np.array_equal(plain[0][part], blind[0][part])
    for task in range(TASKS):
        assert (plain[task][3] != blind[task][3]).all()
        assert set(plain[task][3]) == set(blind[task][3])
    assert all((plain[task][0] != blind[task][0]).any() for task in (1, 2))


def test_a_blind_stream_is_met_on_the_terms_of_the_other():
    candidate = Candidate.of("mlp", {"protocol.passes": "3"}, Machine(device="cpu"), SHAPE)
    assert candidate.blind.spec == candidate.plan.declared.spec
    assert candidate.trial(declared=candidate.blind).meeting.schedule.passes == 3


def test_inputs_are_exact_in_half_precision():
    for task in made_stream((3, 4, 4), "class-il", boundaries=False).source.tasks:
        assert np.array_equal(task[0], task[0].astype(np.float16).astype(np.float32))
        assert task[0].shape == (TRAIN, 3, 4, 4)


def test_a_trial_asks_all_test_samples_task_by_task_where_the_task_is_told():
    candidate = Candidate.of("mlp", {"learner.hidden": "[8]", "stream.scenario": "task-il"}, Machine(device="cpu"), SHAPE)
    trial = candidate.trial()
    with torch.no_grad():
        assert trial.answers().shape == (3, TASKS * TEST, 6)
        assert trial.right(trial.answers(), TASKS).shape == (3, TASKS)
