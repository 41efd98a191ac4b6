"""Estimators of scikit-learn's kind learn as learners: by object, by class, by name in a recipe."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from quick_cases import quick_if
from sklearn.base import BaseEstimator
from sklearn.linear_model import Perceptron, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neural_network import MLPClassifier
from small_streams import running, small_stream

import nlbench
from nlbench import Batch, NlbenchError, closure
from nlbench.learners.config import EstimatorConfig
from nlbench.learners.estimator import Estimator
from nlbench.protocol import problem_of
from nlbench.state import UnlikeError, first_difference, left_out


@pytest.mark.parametrize(
    "estimator",
    [
        quick_if(quick, each)
        for quick, each in ((True, SGDClassifier(loss="log_loss")), (False, BernoulliNB()), (False, MLPClassifier((8,))))
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_estimator_keeps_every_rule(estimator):
    found = nlbench.check_learner(estimator, shape=(1, 4, 4), device="cpu")
    assert found.passed, str(found)
    assert found.model == type(estimator).__name__


def test_it_learns_as_partial_fit_does_on_the_batches_of_its_seed(tmp_path):
    stream = small_stream()
    run = nlbench.run(SGDClassifier(alpha=0.01), stream, seeds="3,7", results=tmp_path, save=tmp_path, device="cpu")
    ran = running(stream, (7,))
    plain = SGDClassifier(alpha=0.01, random_state=7)
    for task in (1, 2, 3):
        samples, order = ran.train(task), ran.presentation(f"{task}/0", 40)
        for inputs, labels in samples.batches(order, 8):
            plain.partial_fit(inputs[0].numpy(), labels[0].numpy(), classes=np.arange(6))
    tests = ran.test(2).inputs.numpy()
    assert np.allclose(run.learner(7).predict(tests).numpy(), plain.decision_function(tests), rtol=1e-6)


def test_what_it_is_made_with_is_part_of_the_run():
    fingerprints = {nlbench.resolve(SGDClassifier(alpha=alpha), small_stream()).fingerprint for alpha in (0.1, 0.1, 0.2)}
    assert len(fingerprints) == 2


def test_a_recipe_names_one_with_its_options(tmp_path):
    recipe = tmp_path / "sgd.toml"
    recipe.write_text('[learner]\nkind = "estimator"\nbuild = "sklearn.linear_model:SGDClassifier"\noptions = { alpha = 0.01 }\n')
    stream = small_stream()
    named = nlbench.run(str(recipe), stream, seeds=2, results=tmp_path, device="cpu")
    given = nlbench.run(SGDClassifier(alpha=0.01), stream, seeds=2, results=tmp_path, device="cpu")
    assert named.metric("average_accuracy") == given.metric("average_accuracy")


def test_a_class_that_was_not_met_yet_is_no_cause_for_a_warning(tmp_path, recwarn):
    run = nlbench.run(GaussianNB(), small_stream(), seeds=2, results=tmp_path, device="cpu")
    assert [str(one.message) for one in recwarn] == []
    assert min(run.metric("learning_accuracy").values()) > 0.5


class Silent(BaseEstimator):
    """Answers with the label it met last."""

    def partial_fit(self, x, y, classes):
        self.last_ = y[-1]
        return self

    def predict(self, x):
        return np.full(len(x), self.last_)


def learner(estimator, n_classes=2):
    ran = running(small_stream())
    problem = problem_of(ran, steps=1, backend="auto")
    return Estimator(EstimatorConfig(kind="estimator", build=closure.give(estimator)), problem)


def test_before_its_first_batch_every_class_is_as_likely():
    made = learner(SGDClassifier())
    assert (made.predict(torch.zeros(3, 6), None) == 0).all()
    loss = made.observe(Batch(torch.zeros(4, 6), torch.tensor([0, 1, 2, 3]), torch.ones(6, dtype=torch.bool), None))
    assert float(loss) == pytest.approx(np.log(6))


def test_one_that_only_predicts_answers_one_label_a_sample():
    made = learner(Silent())
    made.observe(Batch(torch.eye(6), torch.arange(6), torch.ones(6, dtype=torch.bool), None))
    answers = made.predict(torch.eye(6), None)
    assert (answers.sum(1) == 1).all()
    assert answers.argmax(1).tolist() == [5] * 6


def test_what_has_no_partial_fit_is_refused(tmp_path):
    recipe = tmp_path / "svc.toml"
    recipe.write_text('[learner]\nkind = "estimator"\nbuild = "sklearn.svm:SVC"\n')
    with pytest.raises(NlbenchError, match="must be an estimator with partial_fit"):
        nlbench.run(str(recipe), small_stream(), seeds=1, results=tmp_path, device="cpu")


def taught(estimator) -> Estimator:
    made = learner(estimator)
    for _ in range(3):
        made.observe(Batch(torch.randn(8, 6), torch.arange(8) % 6, torch.ones(6, dtype=torch.bool), None))
    return made


class Holding(BaseEstimator):
    """Holds on to the classes that it was told, to an array in a list, and to what no pickle takes."""

    def partial_fit(self, x, y, classes):
        self.classes_, self.means_, self.distance_ = classes, [np.zeros((10, 6), np.float32)], lambda x: x
        return self

    def predict(self, x):
        return np.zeros(len(x), np.int64)


def test_every_array_is_billed_wherever_it_lies():
    classes, numbers = 6 * 8, 6 * 8 + 8 + 8 * 6 + 6
    assert taught(Holding()).memory_bytes() == {"parameters": classes + 4 * 10 * 6}
    network = taught(MLPClassifier((8,), random_state=1)).memory_bytes()["parameters"]
    assert network >= 3 * 4 * numbers  # weights, and the two moments of each
    assert taught(OneVsRestClassifier(SGDClassifier())).memory_bytes()["parameters"] >= 6 * 8 * (6 + 1)


def test_an_estimator_may_change_the_classes_that_it_was_told():
    made = taught(Holding())
    made.estimator.classes_[:] = -1
    assert made.classes.tolist() == list(range(6))


@pytest.mark.parametrize("estimator", [SGDClassifier(), Perceptron(), MLPClassifier((8,), random_state=1)])
def test_a_fresh_one_goes_on_from_what_was_saved(estimator):
    made, fresh = taught(estimator), learner(estimator)
    fresh.load_state_dict(made.state_dict())
    assert first_difference(made.state_dict(), fresh.state_dict()) is None
    batch = Batch(torch.randn(8, 6), torch.arange(8) % 6, torch.ones(6, dtype=torch.bool), None)
    for each in (made, fresh):
        each.observe(batch)
    assert torch.equal(made.predict(torch.eye(6), None), fresh.predict(torch.eye(6), None))


def test_a_part_of_c_that_a_first_batch_makes_otherwise_is_refused():
    made, fresh = taught(SGDClassifier()), learner(SGDClassifier(loss="modified_huber"))
    with pytest.raises(UnlikeError, match=r"others\['_loss_function_'\]"):
        fresh.load_state_dict(made.state_dict())


class Recording(Silent):
    """Holds what says nothing of itself."""

    def partial_fit(self, x, y, classes):
        self.lock_ = threading.Lock()
        return super().partial_fit(x, y, classes)


def test_a_part_that_says_nothing_of_itself_is_named():
    (line,) = left_out(taught(Recording()).state_dict())
    assert "others['lock_']: a _thread.lock" in line
