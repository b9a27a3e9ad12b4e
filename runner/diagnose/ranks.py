"""What part each process had in a failure: its own doing, or a consequence of another's. Pure: texts in."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import IntEnum

from runner.diagnose import evidence
from runner.diagnose.causes import CAUSES, CONSEQUENCES, SIGNALS, STRONG, SUMMARY, Cause, Signal

SIGNAL_EXIT_BASE = 128
# An exception that begins with one of these was looking something up: what came of that is what counts.
LOOKUP = re.compile(
    r"^(\w+\.)*(KeyError|IndexError|AttributeError|StopIteration|Empty|ImportError|ModuleNotFoundError)\b"
)
# Azure's 2020 driver says how the script ended.
ENDED_WELL = re.compile(r"The experiment completed successfully\. Finalizing run")
TIME = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?")


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How one rank ended, and its log (or the end of it). Times in seconds since 1970; None: not known.

    `told_to_stop`: somebody asked it to stop before it ended. `by_text`: there is nothing but the log to go by.
    `rank` is None for a log that belongs to no numbered process.
    """

    rank: int | None
    text: str
    log: str
    exit_code: int | None = None
    signal: int | None = None
    ended: float | None = None
    told_to_stop: bool = False
    by_text: bool = False

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def shell_code(self) -> int | None:
        return self.exit_code if self.signal is None else SIGNAL_EXIT_BASE + self.signal

    @property
    def ended_by(self) -> int | None:
        """The signal that ended it, also where a shell in between made an exit code of it."""
        if self.signal is None and self.exit_code is not None and self.exit_code - SIGNAL_EXIT_BASE in SIGNALS:
            return self.exit_code - SIGNAL_EXIT_BASE
        return self.signal


class Part(IntEnum):
    """Sorts what came first to the front."""

    OWN = 0  # ended by its own doing
    OWN_WHEN_TOLD = 1  # the same, after it had been asked to stop
    CONSEQUENCE = 2  # lost the others
    STOPPED = 3  # asked to stop, and did
    SILENT = 4  # ended, who knows how, without a word; or killed together with its launcher
    FINE = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """A rank's end, the part it had, what shows that, and of which consequence it speaks ('' if of none)."""

    end: RankEnd
    part: Part
    evidence: str = ""
    consequence: str = ""

    @property
    def order(self) -> tuple[int, float, int]:
        """Sorts what came first to the front: part, time, rank."""
        time, rank = self.end.ended, self.end.rank
        return (self.part, float("inf") if time is None else time, -1 if rank is None else rank)


def judge(end: RankEnd) -> Judged:
    """The part a rank had."""
    if end.succeeded or (end.by_text and ENDED_WELL.search(evidence.last_lines(end.text))):
        return Judged(end, Part.FINE)
    trace = own_traceback(end)
    shown = trace or evidence.crash_report(end.text) or evidence.last_lines(end.text)
    spoken = consequence_of(shown, end)
    if end.by_text and end.ended is None:
        end = with_time(end, shown)
    if spoken:
        return Judged(end, Part.CONSEQUENCE, shown, spoken)
    if end.exit_code is None and end.signal is None and not shows_failure(shown, trace, end):
        return Judged(end, Part.SILENT, shown)
    if end.told_to_stop:
        return Judged(end, Part.OWN_WHEN_TOLD if trace else Part.STOPPED, shown)
    return Judged(end, Part.OWN, shown)


def shows_failure(shown: str, trace: str, end: RankEnd) -> bool:
    """Whether a log alone shows that its process failed. A process that has not ended was killed with its launcher."""
    if not end.by_text:
        return False
    return bool(trace or evidence.crash_report(end.text) or known_cause(shown, by_text=True))


def own_traceback(end: RankEnd) -> str:
    """The traceback that ended the process; a launcher's summary gives way to what stands before it."""
    text = end.text
    trace = evidence.last_traceback(text, ends_process=end.by_text)
    while trace and SUMMARY.search(evidence.error_text(trace)):
        text = text[: text.rfind(trace.partition("\n")[0])]
        before = evidence.last_traceback(text, ends_process=True)
        if not before:
            return trace
        trace = before
    return trace


def consequence_of(shown: str, end: RankEnd) -> str:
    """The name of the consequence that `shown` speaks of, or '' if it shows the rank's own failure."""
    if evidence.is_traceback(shown):
        raised = evidence.errors(shown)
        first = next((text for text in raised if not LOOKUP.match(text)), raised[-1])
        # A download that failed is no lost peer, though both say that a connection was refused.
        own = known_cause(first, by_text=False) or known_cause(raised[-1], by_text=False)
        return "" if own and (raised[-1] is first or named_consequence(raised[-1])[0]) else named_consequence(first)[0]
    number = end.ended_by
    if number is not None and number in SIGNALS and SIGNALS[number].decisive:
        return ""
    last = evidence.crash_report(end.text) or evidence.last_lines(shown, evidence.TAIL_LINES if end.by_text else 3)
    name, at = named_consequence(last)
    known = known_position(last, by_text=end.by_text)
    return name if name and (known is None or at < known) else ""


def named_consequence(text: str) -> tuple[str, int]:
    """The consequence that a text speaks of first, and where; ('', 0) if of none."""
    found = [(match.start(), row.name) for row in CONSEQUENCES if (match := row.pattern.search(text))]
    at, name = min(found, key=lambda item: item[0]) if found else (0, "")
    return name, at


def known_cause(shown: str, *, by_text: bool, node: bool = False) -> tuple[Cause, str] | None:
    """The row of the table that fits what is shown, and the line that shows it."""
    for text in candidates(shown):
        for row in rows(by_text=by_text and not evidence.is_traceback(shown), node=node):
            found = row.pattern.search(text)
            if found:
                return row, evidence.line_at(text, found.start())
    return None


def candidates(shown: str) -> Iterable[str]:
    """Where to look: in a chain of exceptions first the last that is no consequence, then those before it."""
    if not evidence.is_traceback(shown):
        return [shown]
    raised = evidence.errors(shown)
    strong = [text for text in raised if any(row.pattern.search(text) for row in CAUSES if row.kind in STRONG)]
    return [*strong[:1], last_own(raised)]


def last_own(raised: list[str]) -> str:
    return next((text for text in reversed(raised) if not named_consequence(text)[0]), raised[-1])


def known_position(text: str, *, by_text: bool) -> int | None:
    found = [match.start() for row in rows(by_text=by_text, node=False) if (match := row.pattern.search(text))]
    return min(found, default=None)


def rows(*, by_text: bool, node: bool) -> list[Cause]:
    return [row for row in CAUSES if not (by_text and row.weak) and (row.node or not node)]


def named_cause(judged: Judged) -> tuple[str, str, str]:
    """Kind, cause and advice of a rank's own end."""
    end, shown = judged.end, judged.evidence
    trace = evidence.is_traceback(shown)
    meaning = meaning_of(end.ended_by)
    if meaning is not None and meaning.decisive and not trace:
        return meaning.kind, meaning.name, meaning.advice
    known = known_cause(shown, by_text=end.by_text)
    if known is not None:
        row, line = known
        return row.kind, row.name.format(line=evidence.clipped(line)), row.advice
    if trace:
        return "exception", evidence.clipped(last_own(evidence.errors(shown)).partition("\n")[0]), ""
    return (meaning.kind, meaning.name, meaning.advice) if meaning is not None else unknown_end(end, shown)


def unknown_end(end: RankEnd, shown: str) -> tuple[str, str, str]:
    """What is left to say where neither a traceback, nor a row of the table, nor a signal tells."""
    if end.exit_code is not None:
        return "exit_code", f"ended with exit code {end.exit_code}{evidence.clipped(evidence.said(shown))}", ""
    if end.by_text:
        return "crash", f"crashed: {evidence.clipped(shown.splitlines()[0])}", ""
    return "killed", "killed together with its launcher", ""


def meaning_of(number: int | None) -> Signal | None:
    if number is None:
        return None
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return SIGNALS.get(number) or Signal("signal", f"killed by {name}", "", decisive=False)


def with_time(end: RankEnd, shown: str) -> RankEnd:
    """The rank with the last time that its log names before the end of what is shown."""
    last = shown.rpartition("\n")[2]
    times = [time for match in TIME.finditer(end.text[: end.text.rfind(last) + len(last)]) if (time := seconds(match))]
    return replace(end, ended=times[-1]) if times else end


def seconds(match: re.Match[str]) -> float | None:
    try:
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        micro = int((match[7] or "0").ljust(6, "0"))
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
