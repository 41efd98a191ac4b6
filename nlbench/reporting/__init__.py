"""Figures and one self-contained HTML page from a comparison of records. Imports matplotlib and jinja2; no torch."""

from nlbench.reporting.page import report
from nlbench.reporting.rerun import Rerun, rerun

__all__ = ["Rerun", "report", "rerun"]
