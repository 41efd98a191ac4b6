from __future__ import annotations

import pytest
from small_networks import problem

from nlbench.errors import NlbenchError
from nlbench.networks.network import Network, image_shape, require_taps


class Closed(Network):
    taps = None


def test_a_network_without_taps_is_refused_by_the_methods_name() -> None:
    require_taps(Network({}, problem()), "gpm")
    with pytest.raises(NlbenchError, match="gpm needs the inputs of every layer, which network 'closed' does not give"):
        require_taps(Closed({}, problem()), "gpm")


@pytest.mark.parametrize(("shape", "image"), [((8, 9), (1, 8, 9)), ((3, 8, 9), (3, 8, 9))])
def test_an_image_has_channels(shape: tuple[int, ...], image: tuple[int, ...]) -> None:
    assert image_shape(problem(shape), "any") == image
