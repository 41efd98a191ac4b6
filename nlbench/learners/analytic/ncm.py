"""The nearest class mean (NCM): the class whose features lie nearest on average."""

from __future__ import annotations

from nlbench.learners.analytic.analytic import Analytic, Linear, nearest


class Ncm(Analytic):
    """The class whose mean feature is nearest: argmax_c μ_cᵀ φ - ½ |μ_c|².

    Told: nothing beyond batches. Keeps: counts and sums of features by class, 4 C (D + 1) bytes.
    Cost: B D multiply-adds a batch beside the features; C D a prediction.
    Source: Mensink et al. 2013; as a yardstick of frozen features Janson et al. 2022.
    """

    def solve(self) -> Linear:
        centres = self.means.of_classes()
        return nearest(centres, centres)
