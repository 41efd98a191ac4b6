"""A gate on forgetting as a test: it fails when the network forgets more than its reference in results/reference."""

from pathlib import Path

NETWORK = Path(__file__).parents[1] / "network.py"


def test_the_network_forgets_no_more_than_its_reference(nlbench_check):
    nlbench_check(f"{NETWORK}:Network", "split-digits")
