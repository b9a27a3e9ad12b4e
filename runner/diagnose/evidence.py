"""What in a log shows the failure: the traceback that ended the process, a crash report, the last lines. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

TAIL_LINES = 20
# Enough for a message of several paragraphs, or the original traceback that a data loader's worker quotes.
MESSAGE_LINES = 60
# A traceback of a thousand frames is shown by its ends, a line of a megabyte by its beginning.
SHOWN_LINES, SHOWN_COLUMNS = 80, 500
# Of a line of a megabyte only the beginning is searched: some patterns would take minutes.
SEARCHED_COLUMNS = 4000
# With no exit code: more ordinary lines than these after a traceback, and the process has gone on.
AFTERWORDS = 10

TRACEBACK = re.compile(r"^(?:  [+|] )?(?:Exception Group )?Traceback \(most recent call last\):\s*$")
# A traceback after one of these did not end the process.
HARMLESS = re.compile(r"^(Exception ignored|Exception in thread|--- Logging error ---|Error in (sys|atexit))")
FATAL = re.compile(r"^(Fatal Python error: |terminate called |\*\*\* Process received signal)")
# A line that begins something else than a message goes on with.
NEXT = re.compile(
    HARMLESS.pattern
    + r"|^(Traceback \(most|\[?\d{4}-\d\d-\d\d[T ]\d|\d\d/\d\d/\d{4} |(WARNING|ERROR|INFO):|[WEIF]\d{4} )"
    + r"|^(\[[WEI] |wandb:)|"
    + FATAL.pattern
)
# A traceback after such a line was logged: whether it ended the process shows in what follows.
LOGGED = re.compile(r"\b(ERROR|WARNING|CRITICAL|INFO|DEBUG)\b")
CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
# What is still written after the end: by launchers, by Azure's context managers, by trackers and exit handlers.
LAST_WORDS = re.compile(
    r"^\s|^[-=*]{3,}|Exiting context|Finalizing run|FinalizingInRunHistory|Cleaning up all|items cleaning up"
    r"|Cleanup took|Logging (experiment|warning)|daemon thread|^wandb:|resource_tracker|Warning:|^WARNING|^\[[WE]"
    r"|^[WEIF]\d{4} |mpirun|prterun|Primary job|a non-zero exit|^Set the environment variable HYDRA|^srun:"
    r"|torch\.distributed\.elastic|^Root Cause|^Failures:|Process name:|Exit code:|^frame #|^Exception raised from"
    r"|^\[\w+\]:"
)


def last_traceback(text: str, *, ends_process: bool = False) -> str:
    """The last Python traceback, with the exceptions it was raised from; '' if there is none.

    Those that did not end the process count only where there is no other, and not at all if `ends_process`.
    """
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if TRACEBACK.match(line)]
    fatal = [at for at in starts if at == 0 or not HARMLESS.match(lines[at - 1])]
    chosen = [at for at in fatal[-1:] if ended_by(lines, at)] if ends_process else (fatal or starts)[-1:]
    if not chosen:
        return ""
    start = chosen[0]
    end = end_of_traceback(lines, start)
    while (earlier := chained_to(lines, start, starts)) is not None:
        start = earlier
    return "\n".join(lines[start:end])


def ended_by(lines: Sequence[str], start: int) -> bool:
    """Whether the process ended with the traceback at `start`: hardly anything was written after it."""
    after = [line for line in lines[exception_at(lines, start) + 1 :] if line.strip() and not LAST_WORDS.search(line)]
    above = lines[start - 1] if start else ""
    was_logged = LOGGED.search(above) is not None and not LAST_WORDS.search(above)
    return len(after) <= (0 if was_logged else AFTERWORDS)


def end_of_traceback(lines: Sequence[str], start: int) -> int:
    """One past the last line of the exception's message."""
    at = exception_at(lines, start)
    # azureml's exceptions only announce their message, which may have gaps.
    announced = at < len(lines) and lines[at].rstrip().endswith(":")
    limit = min(len(lines), at + MESSAGE_LINES)
    at += 1
    while at < limit and (announced or lines[at].strip()) and not NEXT.match(lines[at]):
        at += 1
    return min(at, len(lines))


def exception_at(lines: Sequence[str], start: int) -> int:
    """The line that names the exception of the traceback at `start`: the first that is not indented."""
    at = start + 1
    while at < len(lines) and (lines[at].startswith(" ") or not lines[at].strip()):
        at += 1
    return at


def chained_to(lines: Sequence[str], start: int, starts: Sequence[int]) -> int | None:
    """Where the traceback begins that the one at `start` is chained to."""
    above = start - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    if above < 0 or lines[above] not in CHAIN:
        return None
    earlier = bisect_left(starts, above)
    return starts[earlier - 1] if earlier else None


def is_traceback(evidence: str) -> bool:
    return TRACEBACK.match(evidence.partition("\n")[0]) is not None


def errors(trace: str) -> list[str]:
    """The exceptions of a traceback and of those it is chained to, without frames, the first raised first."""
    parts: list[list[str]] = [[]]
    for line in trace.splitlines():
        if line in CHAIN:
            parts.append([])
        else:
            parts[-1].append(line)
    return [error_text("\n".join(part)) for part in parts]


def error_text(trace: str) -> str:
    """The exception of a traceback, without the frames: its last unindented line on, to the end."""
    lines = trace.splitlines()
    start = max((at for at, line in enumerate(lines) if TRACEBACK.match(line)), default=0)
    first = next((at for at in range(start + 1, len(lines)) if lines[at] and not lines[at].startswith(" ")), start)
    return "\n".join(lines[first:]).strip()


def crash_report(text: str) -> str:
    """What faulthandler or the C++ runtime wrote when the process crashed."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if FATAL.match(line)), None)
    return "" if start is None else "\n".join(lines[start : start + MESSAGE_LINES])


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    return "\n".join(text.rstrip().splitlines()[-count:])


def passage(text: str, position: int, before: int = 6, after: int = 15) -> str:
    """The lines around a position, to the next gap."""
    above = text[:position].splitlines()[-before - 1 : -1] if "\n" in text[:position] else []
    start = text.rfind("\n", 0, position) + 1
    below = re.split(r"\n\s*\n\s*\n", text[start:])[0].splitlines()[: after + 1]
    return "\n".join([*above, *below]).strip("\n")


def line_at(text: str, position: int) -> str:
    """The line at a position; one that only announces (`ResolvePackageNotFound:`) with the next one."""
    start = text.rfind("\n", 0, position) + 1
    lines = [line.lstrip("> \t").rstrip() for line in text[start:].splitlines()[:3] if line.strip()]
    return " ".join(lines[:2]) if lines and lines[0].endswith(":") else lines[0] if lines else ""


def said(text: str) -> str:
    """The last thing that was written, to be put behind a cause."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return f": {lines[-1]}" if lines else ""


def shown(text: str) -> str:
    """Evidence as people see it: neither a thousand frames nor a line of a megabyte."""
    lines = [clipped(line) for line in text.splitlines()]
    if len(lines) > SHOWN_LINES:
        head = SHOWN_LINES // 4
        tail = SHOWN_LINES - head
        lines = [*lines[:head], f"... {len(lines) - head - tail} lines ...", *lines[-tail:]]
    return "\n".join(lines)


def clipped(line: str, columns: int = SHOWN_COLUMNS) -> str:
    return line if len(line) <= columns else f"{line[:columns]} ..."
