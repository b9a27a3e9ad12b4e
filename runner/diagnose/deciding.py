"""Of all ranks, the one that failed first; and, where every log speaks only of consequences, the likely culprit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.diagnose import evidence
from runner.diagnose.causes import SUMMED_UP
from runner.diagnose.ranks import Judged, Part, named_cause, named_consequence
from runner.spec import Failure

NO_ERROR = (
    "most likely it was killed from outside (out of memory, a lost node) or hangs: look at its memory and at what it "
    "was doing last"
)
# What a rank without an error of its own did while others lost it, and what to do about that.
SUSPECTS = {
    Part.SILENT: ("silent_rank", "its log ends without an error", NO_ERROR),
    Part.STOPPED: (
        "hanging_rank",
        "it was still running",
        "it hangs, or takes another branch than the others: look at what it was doing last",
    ),
    Part.FINE: (
        "early_end",
        "it ended without an error",
        "every rank must take part in every collective: give all the same number of batches, and end together",
    ),
}
MISSING = (
    "missing_rank",
    "it has no log",
    "it never started, or its log was not brought: look at its node, and fetch every rank's log",
)
UNSEEN = "no log shows the cause: look for a rank whose log is not here, one that ended early or takes another branch"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a job failed. `kind` names the row of the table (or `exception`, `silent_rank`, ...); `consequences` says
    in one line how the other ranks failed; `notes` tell of earlier attempts."""

    kind: str
    failure: Failure
    consequences: str = ""
    world_size: int | None = None
    notes: tuple[str, ...] = ()


def decide(judged: Sequence[Judged], named: Sequence[int] = (), *, by_text: bool = False) -> Diagnosis | None:
    """The failure of a job, given the part of every rank; None if no rank failed.

    `named` are ranks that launchers or others say were missing. `by_text`: gaps in the numbers are missing logs.
    """
    ordered = sorted(judged, key=lambda one: one.order)
    if not ordered or (ordered[0].part is Part.FINE) or (by_text and ordered[0].part is Part.SILENT):
        return None
    ranks = {one.end.rank for one in ordered if one.end.rank is not None}
    world_size = max(ranks) + 1 if ranks else None
    first = ordered[0]
    alone = len(ordered) == 1 and not by_text
    if first.part is Part.CONSEQUENCE and not alone:
        gaps = sorted(set(range(world_size or 0)) - ranks) if by_text else []
        found = culprit(ordered, named, gaps)
    else:
        kind, cause, advice = named_cause(first)
        found = Diagnosis(kind, failure_of(first, cause, advice))
    others = [one for one in ordered if one.end.rank != found.failure.rank]
    return replace(found, consequences=in_consequence(others), world_size=world_size)


def culprit(ordered: Sequence[Judged], named: Sequence[int], gaps: Sequence[int]) -> Diagnosis:
    """The rank that the others lost: one that was named, else one without an error, else one without a log."""
    said = ordered[0].consequence
    claim = f"while {counted([one for one in ordered if one.part is Part.CONSEQUENCE])} said '{said}'"
    quiet = [one for part in SUSPECTS for one in ordered if one.part is part]
    quiet.sort(key=lambda one: one.end.rank not in named)
    if quiet and not (gaps and quiet[0].part is Part.FINE):
        first = quiet[0]
        kind, what, advice = SUSPECTS[first.part]
        alike = [one.end.rank for one in quiet[1:] if one.part is first.part and one.end.rank is not None]
        return Diagnosis(kind, failure_of(first, suspicion(what, claim, alike), advice))
    missing = [rank for rank in (*named, *gaps) if rank in gaps] or list(gaps)
    if missing:
        kind, what, advice = MISSING
        cause = suspicion(what, claim, sorted(set(missing[1:]) - {missing[0]}))
        return Diagnosis(kind, Failure(cause, missing[0], evidence=ordered[0].evidence, advice=advice))
    first = next((one for one in ordered if one.end.rank in named), ordered[0])
    raised = evidence.errors(first.evidence)[-1] if evidence.is_traceback(first.evidence) else first.evidence
    name, at = named_consequence(raised)
    line = evidence.clipped(evidence.line_at(raised, at))
    return Diagnosis("consequence", failure_of(first, f"{name or said}: {line}", UNSEEN))


def suspicion(what: str, claim: str, alike: Sequence[int]) -> str:
    also = f" (the same holds for {named_ranks(alike)})" if alike else ""
    return f"the likely culprit: {what} {claim}{also}"


def named_ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' * (len(ranks) != 1)} {', '.join(map(str, ranks))}"


def failure_of(judged: Judged, cause: str, advice: str) -> Failure:
    end = judged.end
    return Failure(cause, end.rank, end.shell_code, evidence.shown(judged.evidence), end.log, advice)


def in_consequence(others: Sequence[Judged]) -> str:
    """How the other ranks failed, in one line; '' if none did."""
    names = {
        one.end.rank: one.consequence or "stopped by its launcher"
        for one in others
        if one.part in (Part.CONSEQUENCE, Part.STOPPED) and one.consequence != SUMMED_UP
    }
    if not names:
        return ""
    counts = Counter(names.values()).most_common()
    spoken = counts[0][0] if len(counts) == 1 else ", ".join(f"{name} ({count})" for name, count in counts)
    return f"{len(names)} other rank{'s' * (len(names) != 1)} failed in consequence: {spoken}"


def counted(ranks: Sequence[Judged]) -> str:
    return f"{len(ranks)} other rank{'s' * (len(ranks) != 1)}"
