"""Names of what is timed are known before anything is."""

from __future__ import annotations

import pytest

from nlbench import api
from nlbench.errors import BackendError, UnknownNameError


def test_unknown_names_are_refused_with_their_neighbours() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown kernel op 'mlp_stp'. Did you mean mlp_step"):
        api.bench_kernels(["mlp_stp"])
    with pytest.raises(UnknownNameError, match=r"unknown timed stream 'split-digit'. Did you mean split-digits"):
        api.bench_runs(["split-digit"])
    with pytest.raises(BackendError, match="device must be auto, cpu or cuda"):
        api.bench_kernels(device="mps")
