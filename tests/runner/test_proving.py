"""A learner made from a checkpoint is compared bit by bit, and by what it predicts."""

from __future__ import annotations

import pytest
import torch
from small_streams import mlp, rows_of, running, small_stream

from nlbench.runner.proving import difference
from nlbench.state import UnlikeError, collect


def test_equal_and_different_learners() -> None:
    stream = running(small_stream(), [0, 1])
    learner = mlp(stream, momentum=0.9)
    rows_of(learner, stream)
    saved = {name: value.clone() for name, value in learner.state_dict().items()}
    assert difference(learner, mlp(stream, momentum=0.9), saved, stream) is None
    saved["biases[1]"][0, 0] += 1e-7
    assert difference(learner, mlp(stream, momentum=0.9), saved, stream) == "biases[1]"
    del saved["biases[1]"]
    with pytest.raises(UnlikeError, match=r"biases\[1\]"):
        difference(learner, mlp(stream, momentum=0.9), saved, stream)


def test_what_the_state_does_not_show_shows_in_predictions() -> None:
    stream = running(small_stream(), [0])
    learner, fresh = mlp(stream), mlp(stream)
    saved = {name: value.clone() for name, value in learner.state_dict().items()}
    predict = fresh.predict
    type(fresh).made_anew = (*type(fresh).made_anew, "predict")
    try:
        fresh.predict = lambda inputs, task: torch.nextafter(predict(inputs, task), torch.tensor(9.0))  # type: ignore[method-assign]
        assert "predict" not in str(list(collect(fresh)))
        assert difference(learner, fresh, saved, stream) == "its predictions"
    finally:
        type(fresh).made_anew = type(fresh).made_anew[:-1]
