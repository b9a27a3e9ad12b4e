"""Why a job failed: the first cause among its processes, not the first return code. docs/diagnose.md says how.

When one rank dies, the others fail too, often sooner and louder: a collective loses its peer, or the launcher stops
them. Those are consequences, whatever their exit codes.

`examine` judges a set of logs by their text alone; `explain` and `diagnose` judge ranks whose exit codes are known.
All of it is pure (texts in, a Failure out) but `read_folder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.diagnose import evidence
from runner.diagnose.causes import CAUSES, CONSEQUENCES, SIGNALS
from runner.diagnose.deciding import Diagnosis, decide
from runner.diagnose.folder import examine
from runner.diagnose.launchers import missed, readable
from runner.diagnose.layouts import NamedLog, read_folder
from runner.diagnose.ranks import RankEnd, judge, known_cause
from runner.spec import Failure

__all__ = [
    "CAUSES",
    "CONSEQUENCES",
    "SIGNALS",
    "Diagnosis",
    "NamedLog",
    "RankEnd",
    "diagnose",
    "examine",
    "explain",
    "read_folder",
]


def diagnose(ranks: Sequence[RankEnd], launcher: str = "", launcher_log: str = "logs/launcher.log") -> Failure:
    """The failure of a run, given how each rank that started ended and what the launcher said."""
    return explain(ranks, launcher, launcher_log).failure


def explain(ranks: Sequence[RankEnd], launcher: str = "", launcher_log: str = "logs/launcher.log") -> Diagnosis:
    """The same, with what became of the other ranks."""
    ends = [replace(end, text=readable(end.text)) for end in ranks]
    found = decide([judge(end) for end in ends], missed([launcher, *(end.text for end in ends)]))
    return found or not_started(readable(launcher), launcher_log)


def not_started(launcher: str, log: str) -> Diagnosis:
    """No rank failed, so the launcher did."""
    tail = evidence.last_lines(launcher)
    known = known_cause(tail, by_text=False)
    cause = "the processes could not be started" + evidence.clipped(evidence.said(tail))
    failure = Failure(cause, evidence=evidence.shown(tail), log=log, advice=known[0].advice if known else "")
    return Diagnosis(known[0].kind if known else "not_started", failure)
