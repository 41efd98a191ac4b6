"""Plain fine-tuning of any network: the lower bound that every method must beat."""

from nlbench.learners.gradient import GradientLearner


class Naive(GradientLearner):
    """One step of the optimizer a batch, and nothing about forgetting."""
