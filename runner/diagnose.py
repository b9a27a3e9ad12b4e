"""Why a run failed: the first cause among its ranks, not the first return code. Pure: texts in, a Failure out.

When one rank dies, the others fail too, often sooner and louder: a collective loses its peer, or the launcher stops
them. Those are consequences, whatever their exit codes.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runner.spec import Failure

TAIL_LINES = 20
# Enough for a message of several paragraphs, or the original traceback that a data loader's worker quotes.
MESSAGE_LINES = 60
SIGNAL_EXIT_BASE = 128


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How one rank ended, and its log (or the end of it). Times in seconds since 1970; None: not known.

    `told_to_stop`: somebody asked it to stop before it ended.
    """

    rank: int
    text: str
    log: str
    exit_code: int | None = None
    signal: int | None = None
    ended: float | None = None
    told_to_stop: bool = False

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def shell_code(self) -> int | None:
        return self.exit_code if self.signal is None else SIGNAL_EXIT_BASE + self.signal


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause: what shows it in a log, what it is called (`{line}`: the line that shows it), what to do."""

    pattern: re.Pattern[str]
    name: str
    advice: str


def cause(pattern: str, name: str, advice: str) -> Cause:
    return Cause(re.compile(pattern, re.MULTILINE), name, advice)


# How a rank fails when another has failed: what gloo, NCCL, Horovod, torch's store and agent say then, and SIGTERM.
CONSEQUENCES = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken ?pipe|Connection refused"
    r"|Socket closed|[Rr]emote process exited|ncclRemoteError|NCCL communicator was aborted"
    r"|Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms for (recv|send) operation"
    r"|wait timeout after|Application timeout caused pair closure|recvValue failed|DistNetworkError|DistStoreError"
    r"|Horovod has been shut down|HorovodInternalError|RendezvousConnectionError|RendezvousClosedError"
    r"|SignalException|^KeyboardInterrupt|^SystemExit|killed by signal: Terminated"
)

# First match wins; looked for in the evidence only, so an old warning elsewhere in the log does not mislead.
CAUSES = (
    cause(
        r"CUDA out of memory|OutOfMemoryError.*CUDA|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory",
        "out of GPU memory: {line}",
        "lower trainer.batch_size, use gradient accumulation or mixed precision, or a GPU with more memory",
    ),
    cause(
        r"Bus error|unable to (mmap|open|allocate) .*shared memory|insufficient shared memory",
        "out of shared memory: {line}",
        "raise env.shm_size (Azure, Docker) or /dev/shm here, or use fewer data loader workers",
    ),
    cause(
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        "disk full: {line}",
        "free space, keep fewer checkpoints, or use a larger disk",
    ),
    cause(
        r"killed by signal: Killed|^MemoryError|DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory",
        "out of memory: {line}",
        "use a smaller batch, fewer data loader workers, or a machine with more memory",
    ),
    cause(
        r"^(ModuleNotFoundError|ImportError):",
        "import failed: {line}",
        "add the package to the environment (env), or the module's folder to the code that travels (code.root)",
    ),
    cause(
        r"can't open file '.*': \[Errno 2\]",
        "script not found: {line}",
        "check code.script, and that no ignore file keeps it out of the snapshot ('amlrun plan' lists it)",
    ),
    cause(
        r"^FileNotFoundError:|^NotADirectoryError:|No such file or directory",
        "a file is missing: {line}",
        "check inputs and paths: the working directory holds a copy of the code and nothing else",
    ),
    cause(
        r"^PermissionError:|Permission denied",
        "permission denied: {line}",
        "write to ./outputs, and read what the inputs name",
    ),
    cause(
        r"CUDA error: device-side assert triggered",
        "CUDA assertion failed: {line}",
        "most often a label or index out of range; run on the CPU or with CUDA_LAUNCH_BLOCKING=1 to see where",
    ),
    cause(
        r"CUDA driver version is insufficient|no kernel image is available|Found no NVIDIA driver|No CUDA GPUs",
        "the GPU cannot be used: {line}",
        "choose a PyTorch build or image that fits the GPU and its driver, or distribution.backend=gloo without GPUs",
    ),
    cause(
        r"Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms|wait timeout after",
        "a collective timed out: {line}",
        "some rank did not take part: look for one that ended early or that takes another branch",
    ),
)

# What the signal that ended a rank usually means.
SIGNALS: Mapping[int, tuple[str, str]] = {
    signal.SIGKILL: (
        "killed by SIGKILL: most likely out of memory",
        "use a smaller batch, fewer data loader workers, or a machine with more memory",
    ),
    signal.SIGBUS: (
        "killed by SIGBUS (bus error): most likely out of shared memory",
        "raise env.shm_size (Azure, Docker) or /dev/shm here, or use fewer data loader workers",
    ),
    signal.SIGSEGV: (
        "killed by SIGSEGV (segmentation fault)",
        "a native extension crashed: look for packages built for another version, the stack names the module",
    ),
    signal.SIGABRT: ("killed by SIGABRT (aborted)", "a native library gave up: its message is in the log"),
    signal.SIGILL: ("killed by SIGILL (illegal instruction)", "a package was built for another kind of CPU"),
    signal.SIGTERM: ("killed by SIGTERM", "something outside the run ended it: a preempted node, or a person"),
}

# What torch, torchrun and mpirun put before lines.
PREFIX = re.compile(r"^(?:\[(?:rank|default)\d+\]:|\[\d+,\d+\]<std(?:out|err)>:) ?", re.MULTILINE)
TRACEBACK = re.compile(r"^(?:  [+|] )?(?:Exception Group )?Traceback \(most recent call last\):\s*$")
# A traceback after one of these did not end the process.
HARMLESS = re.compile(r"^(Exception ignored|Exception in thread|--- Logging error ---|Error in (sys|atexit))")
CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
FATAL = re.compile(r"^(Fatal Python error: |terminate called |\*\*\* Process received signal)")


def diagnose(ranks: Sequence[RankEnd], launcher: str = "", launcher_log: str = "logs/launcher.log") -> Failure:
    """The failure of a run, given how each rank that started ended and what the launcher said."""
    failed = [replace(end, text=PREFIX.sub("", end.text)) for end in ranks if not end.succeeded]
    if failed:
        return failure_of(min(failed, key=order))
    tail = last_lines(launcher)
    return Failure(
        "the processes could not be started" + said(tail), evidence=tail, log=launcher_log, advice=advice(tail)
    )


def order(end: RankEnd) -> tuple[int, float, int]:
    """Sorts what came first to the front: kind of end, time, rank."""
    return (likelihood(end), end.ended if end.ended is not None else float("inf"), end.rank)


def likelihood(end: RankEnd) -> int:
    """0: ended by its own doing ... 4: taken along by others."""
    if end.exit_code is None and end.signal is None:
        return 4
    trace = last_traceback(end.text)
    if CONSEQUENCES.search(error_text(trace) if trace else crash_report(end.text) or last_lines(end.text, 3)):
        return 2
    if end.told_to_stop:
        return 1 if trace else 3
    return 0


def failure_of(end: RankEnd) -> Failure:
    evidence = evidence_of(end.text)
    known = known_cause(evidence)
    what, todo = known if known is not None else unknown_cause(end, evidence)
    return Failure(what, end.rank, end.shell_code, evidence, end.log, todo)


def evidence_of(text: str) -> str:
    """The last traceback, whole; else the interpreter's report of a crash; else the last lines."""
    return last_traceback(text) or crash_report(text) or last_lines(text)


def known_cause(evidence: str) -> tuple[str, str] | None:
    trace = error_text(evidence) if TRACEBACK.match(evidence.partition("\n")[0]) else evidence
    for row in CAUSES:
        found = row.pattern.search(trace)
        if found:
            return row.name.format(line=line_at(trace, found.start())), row.advice
    return None


def unknown_cause(end: RankEnd, evidence: str) -> tuple[str, str]:
    """Cause and advice where no row of the table knows better."""
    if last_traceback(evidence):
        return error_text(evidence).partition("\n")[0], ""
    if end.signal is not None:
        return SIGNALS.get(end.signal) or (f"killed by {signal_name(end.signal)}", "")
    if end.exit_code is not None:
        return f"ended with exit code {end.exit_code}" + said(evidence), ""
    return "killed together with its launcher", ""


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def said(text: str) -> str:
    """The last thing that was written, to be put behind a cause."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return f": {lines[-1]}" if lines else ""


def advice(evidence: str) -> str:
    known = known_cause(evidence)
    return known[1] if known else ""


def last_traceback(text: str) -> str:
    """The last Python traceback that ended the process, with the exceptions it was raised from; '' if there is none."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if TRACEBACK.match(line)]
    fatal = [at for at in starts if at == 0 or not HARMLESS.match(lines[at - 1])]
    if not starts:
        return ""
    start = (fatal or starts)[-1]
    end = end_of_traceback(lines, start)
    while (earlier := chained_to(lines, start, starts)) is not None:
        start = earlier
    return "\n".join(lines[start:end])


def end_of_traceback(lines: Sequence[str], start: int) -> int:
    """One past the last line of the exception's message."""
    at = start + 1
    while at < len(lines) and (lines[at].startswith(" ") or not lines[at].strip()):
        at += 1
    limit = min(len(lines), at + MESSAGE_LINES)
    at += 1
    while at < limit and lines[at].strip() and not HARMLESS.match(lines[at]):
        at += 1
    return min(at, len(lines))


def chained_to(lines: Sequence[str], start: int, starts: Sequence[int]) -> int | None:
    """Where the traceback begins that the one at `start` is chained to."""
    above = start - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    if above < 0 or lines[above] not in CHAIN:
        return None
    return max((at for at in starts if at < above), default=None)


def error_text(trace: str) -> str:
    """The exception of a traceback, without the frames: its last unindented line on, to the end."""
    lines = trace.splitlines()
    start = max((at for at, line in enumerate(lines) if TRACEBACK.match(line)), default=0)
    first = next((at for at in range(start + 1, len(lines)) if lines[at] and not lines[at].startswith(" ")), start)
    return "\n".join(lines[first:])


def crash_report(text: str) -> str:
    """What faulthandler or the C++ runtime wrote when the process crashed."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if FATAL.match(line)), None)
    return "" if start is None else "\n".join(lines[start : start + MESSAGE_LINES])


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    return "\n".join(text.rstrip().splitlines()[-count:])


def line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].partition("\n")[0].strip()
