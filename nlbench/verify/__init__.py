"""Claims on trial: published statements as data, the runs that try them, and a verdict on each.

claims   TOML -> what is claimed, of which runs, and what must hold
words    statements and numbers as text
judging  values by seed -> holds, does not hold, undecided, not comparable
running  claims -> plans -> sweep -> records -> verdicts
kept     verdicts <-> plain values
page     verdicts -> HTML, Markdown
"""

from nlbench.verify.claims import Claim, claim_of, read_claim, read_claims
from nlbench.verify.judging import judge
from nlbench.verify.kept import facts, judged_of
from nlbench.verify.model import Finding
from nlbench.verify.running import Judged, Measured, Trial, exit_status, trial, verify
from nlbench.verify.words import worded

__all__ = [
    "Claim",
    "Finding",
    "Judged",
    "Measured",
    "Trial",
    "claim_of",
    "exit_status",
    "facts",
    "judge",
    "judged_of",
    "read_claim",
    "read_claims",
    "trial",
    "verify",
    "worded",
]
