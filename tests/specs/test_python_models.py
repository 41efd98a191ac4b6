"""What Python gives as a model stands for a learner: a module's class, a module, an estimator, a class of learners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_streams import small_stream
from torch import nn

import nlbench
from nlbench import NlbenchError
from nlbench.specs.python_models import learner_of


class Two(nn.Sequential):
    def __init__(self, n_classes):
        super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, n_classes))


def fresh() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Two(6)


def test_a_class_of_modules_is_fine_tuned_from_a_start_of_each_seed(tmp_path):
    run = nlbench.run(Two, small_stream(), seeds=2, results=tmp_path, save=tmp_path, device="cpu")
    assert run.record.model == "Two"
    inputs = np.ones((1, 6), np.float32)
    assert not torch.equal(run.learner(0).predict(inputs), run.learner(1).predict(inputs))
    assert np.mean(list(run.metric("learning_accuracy").values())) > 0.6


def test_a_module_is_how_every_seed_starts_and_is_itself_left_alone(tmp_path):
    network = fresh()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run = nlbench.run(network, small_stream(evaluate_every=20), seeds=2, results=tmp_path, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    stream = small_stream()
    right = (network(torch.from_numpy(stream.source.tasks[0][2])).argmax(1).numpy() == stream.source.tasks[0][3]).mean()
    assert np.asarray(run.record.accuracies)[:, 0, 0] == pytest.approx(right)


def test_a_module_without_sizes_is_refused_until_it_was_called(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(NlbenchError, match=r"has lazy layers without sizes\. Give a function that makes it, or call it once"):
        nlbench.run(module, "split-digits", seeds=1, results=tmp_path)
    module(torch.zeros(1, 1, 8, 8))
    assert nlbench.run(module, "split-digits", seeds=1, results=tmp_path).record.seeds == (0,)


def test_other_weights_are_another_run_and_the_same_are_the_same():
    other = fresh()
    with torch.no_grad():
        other[0].bias += 1
    first, again, changed = (nlbench.resolve(each, small_stream()).fingerprint for each in (fresh(), fresh(), other))
    assert first == again != changed


def test_a_method_takes_the_network_by_an_override(tmp_path):
    plan = nlbench.resolve(Two, small_stream(), overrides={"learner.optimizer": '{kind = "adam", rate = 0.01}'})
    assert plan.learner.learner.optimizer.kind == "adam"
    assert plan.learner.learner.network.kind == "module"


def test_what_is_no_model_is_told_what_is():
    with pytest.raises(NlbenchError, match="must be a name, a file, a class, a torch module or an estimator"):
        learner_of(3)


class Whole:
    """Learns everything at once."""

    def fit(self, inputs, labels):
        """Learn."""


class Observing:
    """A learner, as far as its methods go."""

    def observe(self, batch):
        """Learn."""


@pytest.mark.parametrize(("model", "way_out"), [(3, "help"), (Whole(), "It has no partial_fit"), (Observing(), "Give the class")])
def test_the_way_out_is_that_of_what_was_given(model, way_out):
    with pytest.raises(NlbenchError) as caught:
        learner_of(model)
    assert caught.value.hint.startswith(way_out)
