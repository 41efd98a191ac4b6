"""One table of inputs for every kernel op, edges and ragged sizes included. Tests and timings share it."""

from __future__ import annotations

from typing import Final

from nlbench.kernels.cases.contexts import CONTEXTS
from nlbench.kernels.cases.scans import SCANS
from nlbench.kernels.cases.steps import STEPS
from nlbench.kernels.judging import Case

CASES: Final[tuple[Case, ...]] = (*SCANS, *STEPS, *CONTEXTS)
