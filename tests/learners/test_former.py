from __future__ import annotations

import torch

from nlbench.learners.former import Former


def test_it_is_there_from_the_start_keeps_in_place_and_grows_with_the_learner() -> None:
    former, parameters, state = Former(), {"w": torch.zeros(2, 3)}, {"mean": torch.zeros(2, 1)}
    former.take_in(parameters, state)
    held = former.held()
    assert [value.shape for value in held] == [(2, 3), (2, 1)]
    assert not former.there
    parameters["head.2"] = torch.ones(2, 4)
    former.take_in({"head.2": parameters["head.2"]}, state)
    for value in (*parameters.values(), *state.values()):
        value += 1.0
    former.keep(parameters, state)
    assert former.there
    assert all(one is two for one, two in zip(held[:1], former.held(), strict=False))
    assert [value.unique().tolist() for value in former.held()] == [[1.0], [2.0], [1.0]]
    parameters["w"] += 1.0
    assert former.parameters["w"].unique().tolist() == [1.0]
