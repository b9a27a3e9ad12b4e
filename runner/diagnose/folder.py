"""A folder of logs, from Azure or from anywhere: which failed first, with no exit codes to go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.diagnose import evidence
from runner.diagnose.causes import Cause
from runner.diagnose.deciding import Diagnosis, decide
from runner.diagnose.launchers import by_rank, informed, missed, readable, statements
from runner.diagnose.layouts import NamedLog, Phase, Source, records_of, source_of
from runner.diagnose.ranks import Judged, Part, RankEnd, judge, known_cause
from runner.spec import Failure

NODE_PHASES = (Phase.BUILD, Phase.PULL, Phase.PREPARE, Phase.NODE, Phase.AFTER)
BUILT = ("Successfully tagged ", "Successfully built ", "was successful after")


@dataclass(frozen=True, slots=True)
class Sorted:
    """Logs with what their names say."""

    source: Source
    log: NamedLog


def examine(logs: Sequence[NamedLog]) -> Diagnosis | None:
    """The first cause in a set of logs; None if none of them shows a failure.

    The newest attempt counts; what became of the earlier ones is told in the notes.
    """
    known = [Sorted(source_of(log.name), log) for log in logs]
    attempts = sorted({one.source.attempt for one in known if one.source.phase is Phase.RANK} or {0})
    newest = attempts[-1]
    found = examine_attempt(known, newest, logs, shared=newest == 0)
    if found is None or len(attempts) == 1:
        return found
    return replace(found, notes=earlier_attempts(known, attempts[:-1], logs))


def earlier_attempts(known: Sequence[Sorted], attempts: Sequence[int], logs: Sequence[NamedLog]) -> tuple[str, ...]:
    notes = []
    for attempt in attempts:
        found = examine_attempt(known, attempt, logs, shared=True)
        where = f" of rank {found.failure.rank}" if found is not None and found.failure.rank is not None else ""
        what = f"failure{where}: {found.failure.cause}" if found is not None else "no failure in its logs"
        notes.append(f"an earlier attempt ({'first' if attempt == 0 else f'retry {attempt}'}): {what}")
    return tuple(notes)


def examine_attempt(
    known: Sequence[Sorted], attempt: int, logs: Sequence[NamedLog], *, shared: bool
) -> Diagnosis | None:
    """One attempt: a rank's own failure, else what happened to its node, else who is missing among the ranks.

    `shared`: logs of the node belong to the first attempt, they explain a later one only where nothing else does.
    """
    mine = [one for one in known if one.source.attempt == attempt or one.source.phase not in (Phase.RANK,)]
    judged, named = judged_ranks(mine, records_of(logs))
    own = [one for one in judged if one.part <= Part.OWN_WHEN_TOLD]
    lost = any(one.part in (Part.CONSEQUENCE, Part.STOPPED) for one in judged)
    if not own and (shared or lost):
        found = node_failure(mine)
        if found is not None:
            return replace(found, world_size=None)
    return decide(judged, named, by_text=True) or (launcher_failure(mine) if not judged else None)


def judged_ranks(logs: Sequence[Sorted], records: dict[int, dict[str, Any]]) -> tuple[list[Judged], list[int]]:
    """The part of every rank, and those that the logs say were missing. Of several logs of a rank the worst counts."""
    processes = [one for one in logs if one.source.phase in (Phase.RANK, Phase.UNKNOWN)]
    launchers = [one for one in logs if one.source.phase is Phase.LAUNCHER]
    ends = [
        end_of(rank, text, one.log.name, records)
        for one in [*processes, *(log for log in launchers if len(by_rank(log.log.text, None)) > 1)]
        for rank, text in by_rank(one.log.text, one.source.rank).items()
        if one.source.phase is not Phase.LAUNCHER or rank is not None
    ]
    texts = [one.log.text for one in [*launchers, *processes]]
    ends = informed(ends, statements(texts), (launchers or processes or logs)[0].log.name) if logs else []
    worst: dict[int | None, Judged] = {}
    for judged in map(judge, ends):
        there = worst.get(judged.end.rank)
        if there is None or judged.order < there.order:
            worst[judged.end.rank] = judged
    return list(worst.values()), missed(texts)


def end_of(rank: int | None, text: str, log: str, records: dict[int, dict[str, Any]]) -> RankEnd:
    record = records.get(rank) if rank is not None else None
    if record is None:
        return RankEnd(rank, readable(text), log, by_text=True)
    return RankEnd(
        rank,
        readable(text),
        log,
        exit_code=record.get("exit_code"),
        signal=record.get("signal"),
        ended=record.get("ended"),
        told_to_stop=record.get("told_to_stop") is not None,
    )


def node_failure(logs: Sequence[Sorted]) -> Diagnosis | None:
    """What went wrong before or beside the processes: image build, image pull, mounts, the node itself."""
    for one in sorted(logs, key=lambda one: one.source.phase):
        if one.source.phase in NODE_PHASES and not ended_well(one):
            text = readable(one.log.text)
            known = known_cause(text, by_text=False, node=True)
            if known is not None:
                return found_at(known, text, one.log.name)
    return None


def ended_well(one: Sorted) -> bool:
    last = evidence.last_lines(one.log.text, evidence.TAIL_LINES)
    return one.source.phase is Phase.BUILD and any(words in last for words in BUILT)


def found_at(known: tuple[Cause, str], text: str, log: str) -> Diagnosis:
    row, line = known
    at = row.pattern.search(text)
    assert at is not None
    shown = evidence.shown(evidence.passage(text, at.start()))
    return Diagnosis(
        row.kind, Failure(row.name.format(line=evidence.clipped(line)), None, None, shown, log, row.advice)
    )


def launcher_failure(logs: Sequence[Sorted]) -> Diagnosis | None:
    """No rank has a log: what the launcher said last, if it names a known cause."""
    for one in logs:
        if one.source.phase is Phase.LAUNCHER:
            text = evidence.last_lines(readable(one.log.text))
            known = known_cause(text, by_text=True)
            if known is not None:
                return found_at(known, text, one.log.name)
    return None
