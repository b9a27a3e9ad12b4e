"""What launchers add to logs: prefixes before lines, several ranks in one stream, statements about who failed."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.diagnose import evidence
from runner.diagnose.ranks import RankEnd
from runner.redact import redact

# What torch, torchrun and mpirun (and horovodrun, with a date) put before the lines of a rank.
TAG = re.compile(
    r"^(?:\w{3} \w{3} +\d+ [\d:]+ \d{4})?"
    r"(?:\[(?:rank|default)(?P<torch>\d+)\]:|\[(?:[\w.-]+@)?(?:\d+,)?(?P<mpi>\d+)\]<std(?:out|err)>:)"
)
STREAM = re.compile(r"^\[std(?:out|err)\]", re.MULTILINE)
MARK = "\ufeff"  # of byte order, before a text that Windows has saved
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Before every line of a log that a service has kept.
STAMP = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?:? ?")
MOSTLY = 0.6

# Who failed, and how: a negative code is a signal. Every repetition is bounded: logs may be long, and odd.
STATEMENTS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"noticed that process rank (?P<rank>\d+) with PID .{1,300} exited on signal (?P<signal>\d+)",
        r"Process name: \[[^\n]{1,80},(?P<rank>\d+)\]\s+Exit code:\s+(?P<code>-?\d+)",
        r"Root Cause \(first observed failure\):(?:\n(?!\s+rank ).*){0,9}"
        r"\n\s+rank +: (?P<rank>\d+) .*\n\s+exitcode +: (?P<code>-?\d+)",
        r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<rank>\d+)",
        r"^Process (?P<rank>\d+) exit with status code (?P<code>\d+)",
    )
)
# Whom the others missed.
MISSED = (
    re.compile(r"[Rr]anks? (?P<ranks>\d+(?:, \d+)*) failed to pass monitoredBarrier"),
    re.compile(r"\[missing ranks: (?P<ranks>\d+(?:, ?\d+)*)\]"),
    re.compile(r"Missing ranks:\s*\n(?P<ranks>\d+): "),
    re.compile(r"waiting for send/recv from rank (?P<ranks>\d+)\."),
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a launcher says of a rank: its exit code, or the signal that ended it; `text` says so."""

    rank: int
    exit_code: int | None
    signal: int | None
    text: str


def readable(text: str) -> str:
    """A log without what others put before its lines, and without secrets. Every text that is shown comes by here."""
    lines = [
        evidence.clipped(line, evidence.SEARCHED_COLUMNS)
        for line in COLOUR.sub("", text.removeprefix(MARK)).splitlines()
    ]
    stamped = sum(STAMP.match(line) is not None for line in lines)
    if stamped > MOSTLY * len(lines):
        lines = [STAMP.sub("", line) for line in lines]
    return STREAM.sub("", redact("\n".join(untagged(lines))))


def untagged(lines: Sequence[str]) -> list[str]:
    """Without the tags of ranks, and without the space that some launchers put after theirs and others do not."""
    tags = [TAG.match(line) for line in lines]
    rests = [line[tag.end() :] for tag, line in zip(tags, lines, strict=True) if tag]
    spaced = all(rest[:1] in ("", " ") for rest in rests)
    return [line[tag.end() + spaced :] if tag else line for tag, line in zip(tags, lines, strict=True)]


def by_rank(text: str, own: int | None) -> dict[int | None, str]:
    """The lines of each rank, where several write to one stream and their lines are tagged; else all as `own`'s."""
    parts: dict[int | None, list[str]] = defaultdict(list)
    for line in text.splitlines():
        tag = TAG.match(line)
        parts[int(tag["torch"] or tag["mpi"]) if tag else own].append(line)
    tagged = {rank for rank in parts if rank != own}
    if not tagged or (own is not None and own not in parts):
        return {own: text}
    return {rank: "\n".join(lines) for rank, lines in parts.items()}


def statements(texts: Sequence[str]) -> list[Statement]:
    """What launchers say of ranks that failed, the surest first. SIGTERM is how they end the others: left out."""
    found = []
    for pattern in STATEMENTS:
        for text in texts:
            for match in pattern.finditer(text):
                found += [said] if (said := statement_of(match)) is not None else []
    return found


def statement_of(match: re.Match[str]) -> Statement | None:
    groups = match.groupdict()
    code = int(groups.get("code") or 0)
    number = int(groups.get("signal") or max(-code, 0))
    if number == signal.SIGTERM or not (code or number):
        return None
    return Statement(int(match["rank"]), None if number else code, number or None, match[0])


def missed(texts: Sequence[str]) -> list[int]:
    """The ranks that others say were missing, in the order they are named."""
    found = [match["ranks"] for text in texts for pattern in MISSED for match in pattern.finditer(text)]
    return list(dict.fromkeys(int(number) for ranks in found for number in ranks.split(",")))


def informed(ends: Sequence[RankEnd], stated: Sequence[Statement], log: str) -> list[RankEnd]:
    """The ranks, with the exit codes that launchers state; one that has no log of its own gets its launcher's."""
    first = {statement.rank: statement for statement in reversed(stated)}
    known = [
        replace(end, exit_code=first[end.rank].exit_code, signal=first[end.rank].signal)
        if end.rank in first and end.by_text and end.rank is not None and end.exit_code is None and end.signal is None
        else end
        for end in ends
    ]
    there = {end.rank for end in ends}
    unheard = [
        RankEnd(rank, said.text, log, said.exit_code, said.signal, by_text=True)
        for rank, said in first.items()
        if rank not in there
    ]
    return [*known, *unheard]
