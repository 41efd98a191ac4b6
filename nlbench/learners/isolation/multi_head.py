"""A head a task on one network that goes on learning: what methods that are told the task must beat.

    L_k(θ, head_k)    on task k; nothing is done about forgetting in the network

Told    whose a sample is, also at test.
Stored  a head a task.
Cost    that of plain fine-tuning.
"""

from typing import ClassVar

from nlbench.learners.gradient import GradientLearner


class MultiHead(GradientLearner):
    """Plain fine-tuning of a network with a head a task."""

    needs: ClassVar[tuple[str, ...]] = ("task",)
