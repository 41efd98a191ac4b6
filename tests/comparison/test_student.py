"""Student's t distribution without scipy, beside scipy."""

from math import pi, tan

import pytest
from scipy import special

from nlbench.comparison.student import quantile, upper_tail

FREEDOMS = (1, 1.3, 2, 2.7, 3, 4, 9, 19, 30, 49.37, 100, 999, 1000)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_tails_agree_with_scipy(freedom: float) -> None:
    for t in (0, 1e-3, 0.1, 0.5, 1, 1.96, 2, 3, 5, 10, 31.6, 50, 300):
        assert upper_tail(t, freedom) == pytest.approx(special.stdtr(freedom, -t), rel=2e-12)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_quantiles_agree_with_scipy(freedom: float) -> None:
    for probability in (0.51, 0.6, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9995, 1 - 1e-6, 1 - 1e-9):
        assert quantile(probability, freedom) == pytest.approx(special.stdtrit(freedom, probability), rel=2e-12)


def test_one_degree_of_freedom_is_cauchys() -> None:
    for probability in (0.6, 0.75, 0.975, 0.9995):
        assert quantile(probability, 1) == pytest.approx(tan(pi * (probability - 0.5)), rel=1e-12)
