"""Leak-free search for a recipe's values: candidates are judged on held-out parts of the first tasks' training sets, never on
a test set.

space     what is searched: lists of values, and ranges
samplers  who says what is tried next: a grid, random draws, TPE
trials    one candidate, and the search itself, on an engine of sweeps
search    what came out: every trial, how sure the best is, and whether it lies at an edge
"""

from nlbench.tune.samplers import SAMPLERS, sampler_of
from nlbench.tune.search import Search, Trial, finish
from nlbench.tune.space import Range, candidates, parsed
from nlbench.tune.trials import SHARE, TUNING_SEEDS, Question, Trials, check, tune

__all__ = [
    "SAMPLERS",
    "SHARE",
    "TUNING_SEEDS",
    "Question",
    "Range",
    "Search",
    "Trial",
    "Trials",
    "candidates",
    "check",
    "finish",
    "parsed",
    "sampler_of",
    "tune",
]
