"""What holds each method to its equations fails where the method does nothing: a no-op is no method."""

from __future__ import annotations

import inspect
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from quick_cases import quick_if

from nlbench import Learner, catalog
from nlbench.learners.gradient import GradientLearner

HELD = {
    "er": "replay.test_er:test_er_equals_its_rendering",
    "er-ace": "replay.test_er_ace:test_er_ace_equals_its_rendering_and_keeps_old_classes_out_of_the_new_samples_loss",
    "a-gem": "replay.test_a_gem:test_a_gem_equals_its_rendering_where_it_projects_and_where_it_does_not",
    "gem": "replay.test_gem:test_gem_equals_its_rendering",
    "der": "replay.test_der:test_der_equals_its_rendering",
    "derpp": "replay.test_der:test_der_equals_its_rendering",
    "gdumb": "replay.test_gdumb:test_after_each_task_it_is_the_network_trained_from_its_start_on_the_buffer_alone",
    "icarl": "replay.test_icarl:test_icarl_equals_its_rendering",
    "bic": "replay.test_bic:test_bic_equals_its_rendering_also_where_classes_come_back",
    "mir": "replay.test_mir:test_mir_equals_its_rendering_and_finds_samples_that_the_step_harms",
    "dgr": "generative.test_dgr:test_three_tasks_are_learned_as_the_equations_say",
    "independent": "bounds.test_independent:test_after_each_task_it_is_a_network_that_learned_that_task_alone",
    "averaged": "bounds.test_averaged:test_three_tasks_are_learned_as_the_equations_say_and_measured_at_the_average",
    "ncm": "analytic.test_ncm:test_it_answers_with_the_nearest_mean_of_all_samples_so_far",
    "slda": "analytic.test_slda:test_it_is_the_recursion_of_the_paper_one_sample_after_another",
    "fecam": "analytic.test_fecam:test_it_is_the_least_distance_in_each_class_own_correlations",
    "acil": "analytic.test_acil:test_it_equals_joint_ridge_regression_after_every_task",
    "ranpac": "analytic.test_ranpac:"
    "test_after_each_task_its_ridge_is_the_best_on_what_was_held_out_and_the_solution_that_of_all_samples",
    "randumb": "analytic.test_randumb:test_it_is_the_nearest_mean_in_the_shrunk_common_covariance",
    "pec": "analytic.test_pec:test_every_class_has_a_network_and_an_adam_of_its_own_that_sees_its_samples_alone",
    "in-context": "test_in_context:test_it_answers_by_attention_to_the_samples_in_sight",
    "owm": "projections.test_owm:test_three_tasks_are_learned_as_the_equations_say",
    "gpm": "projections.test_gpm:test_three_tasks_are_learned_as_the_equations_say",
    "trgp": "projections.test_trgp:test_three_tasks_are_learned_as_the_equations_say",
    "cuber": "projections.test_cuber:test_three_tasks_are_learned_as_the_equations_say",
    "ewc": "penalties.test_ewc:test_three_tasks_are_learned_as_the_equations_say",
    "mas": "penalties.test_mas:test_three_tasks_are_learned_as_the_equations_say",
    "si": "penalties.test_si:test_three_tasks_are_learned_as_the_equations_say",
    "rwalk": "penalties.test_rwalk:test_three_tasks_are_learned_as_the_equations_say",
    "lwf": "penalties.test_lwf:test_three_tasks_of_one_head_are_learned_as_the_equations_say",
    "l2-init": "plasticity.test_l2_init:test_three_tasks_are_learned_as_the_equation_says",
    "shrink-and-perturb": "plasticity.test_shrink_and_perturb:test_three_tasks_are_learned_as_the_equation_says",
    "continual-backprop": "plasticity.test_continual_backprop:test_three_tasks_are_learned_as_the_algorithm_says",
    "upgd": "plasticity.test_upgd:test_three_tasks_are_learned_as_the_algorithm_says",
    "multi-head": "isolation.test_multi_head:test_three_tasks_are_learned_each_by_its_own_head",
    "hat": "isolation.test_hat:test_three_tasks_are_learned_as_the_equations_say",
    "packnet": "isolation.test_packnet:test_three_tasks_are_learned_as_the_method_says",
}
PLAIN = {"mlp", "naive", "chance", "estimator", "levels", "cms", "hope", "projected"}
"""Not methods on a network of anybody's: plain learning, bounds, and memories, which tests of their own hold."""

QUICK = {"in-context", "er", "a-gem", "ncm", "owm", "si", "l2-init", "hat"}

VERBS = ("observe", "loss", "adjust", "move", "after_step", "end_task", "phase", "logits", "predict")


def held(kind: str) -> tuple[Any, dict[str, Any]]:
    """Return the test and the first case it is given."""
    place, name = HELD[kind].split(":")
    path = Path(__file__).parent.joinpath(*place.split(".")).with_suffix(".py")
    found = spec_from_file_location(f"held_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    test, case = getattr(module, name), {}
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        names = [names] if isinstance(names, str) else names
        chosen = next((each for each in values if len(names) > 1 and kind in each), values[0])
        case |= dict(zip(names, chosen if len(names) > 1 else [chosen], strict=True))
    return test, case


def test_every_method_is_held_to_its_equations() -> None:
    assert HELD.keys() | PLAIN == set(catalog.LEARNERS)
    assert not HELD.keys() & PLAIN


@pytest.mark.parametrize("kind", [quick_if(kind in QUICK, kind) for kind in HELD])
def test_a_method_that_does_nothing_is_caught(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test, case = held(kind)
    learner = catalog.extension("learners", kind, inspect.isclass, "a class")
    plain = GradientLearner if issubclass(learner, GradientLearner) and kind != "multi-head" else Learner
    for each in learner.__mro__[: learner.__mro__.index(plain)]:
        for verb in vars(each).keys() & set(VERBS):
            if plain is GradientLearner:
                monkeypatch.setattr(each, verb, getattr(GradientLearner, verb, Learner.end_task))
            elif verb == "observe":
                monkeypatch.setattr(each, verb, lambda self, batch: torch.zeros(len(batch.labels)))
            elif verb == "end_task":
                monkeypatch.setattr(each, verb, Learner.end_task)
    with pytest.raises(AssertionError):
        test(**case)
