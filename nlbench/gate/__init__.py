"""The gate on forgetting: a record against its reference, verdicts, and an exit status that fails closed."""

from nlbench.gate.judging import check, judge, judged
from nlbench.gate.model import Finding, Judgement, Verdict, exit_status
from nlbench.gate.reference import Update, default_reference, find_reference, refuse_unfit, update
from nlbench.gate.reports import to_annotations, to_json, to_junit, to_markdown, to_text, write_reports
from nlbench.gate.several import check_all

__all__ = [
    "Finding",
    "Judgement",
    "Update",
    "Verdict",
    "check",
    "check_all",
    "default_reference",
    "exit_status",
    "find_reference",
    "judge",
    "judged",
    "refuse_unfit",
    "to_annotations",
    "to_json",
    "to_junit",
    "to_markdown",
    "to_text",
    "update",
    "write_reports",
]
