"""Which rank failed first, why, and what shows it. Many logs here come from processes really made to fail."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.diagnose import CAUSES, SIGNALS, RankEnd, diagnose
from runner.spec import Failure

Script = Callable[[str], RankEnd]
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    main()\n'
PEER = TRACE + "RuntimeError: [/pytorch/gloo/transport/tcp/pair.cc:525] Connection closed by peer [127.0.0.1]:4242"


def end(rank: int, text: str = "", **values: Any) -> RankEnd:
    return RankEnd(rank, text, f"logs/rank_{rank}.log", **{"exit_code": 1, "ended": 1.0, **values})


@pytest.fixture
def failing(tmp_path: Path) -> Script:
    """Runs a script that fails and says how it ended."""

    def run(script: str) -> RankEnd:
        (tmp_path / "a.py").write_text(textwrap.dedent(script))
        command = [sys.executable, "-X", "faulthandler", "a.py"]
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code = done.returncode
        return end(0, done.stdout, exit_code=code if code >= 0 else None, signal=-code if code < 0 else None)

    return run


# Which rank


def test_the_rank_that_lost_its_peer_is_not_the_cause() -> None:
    ranks = [end(0, PEER, ended=1.0), end(1, TRACE + "ValueError: boom", ended=2.0, told_to_stop=True)]

    assert diagnose(ranks).rank == 1


@pytest.mark.parametrize(
    "consequence",
    [
        "RuntimeError: [../gloo/transport/tcp/pair.cc:598] Connection closed by peer [10.0.0.4]:17",
        "RuntimeError: Broken pipe",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "torch.distributed.DistBackendError: NCCL communicator was aborted on rank 1.",
        "torch.distributed.DistBackendError: [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(...)",
        "RuntimeError: Timed out waiting 1800000ms for recv operation to complete",
        "torch.distributed.DistNetworkError: The client socket has timed out after 60000ms",
        "horovod.common.exceptions.HorovodInternalError: Horovod has been shut down. This was caused by an exception",
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 7 got signal: 15",
        "KeyboardInterrupt",
        "SystemExit: 143",
    ],
)
def test_consequences_come_after_causes_whenever_they_ended(consequence: str) -> None:
    ranks = [end(0, TRACE + consequence, ended=1.0), end(1, TRACE + "KeyError: 'x'", ended=9.0)]

    assert diagnose(ranks).cause == "KeyError: 'x'"


def test_of_two_causes_the_earlier_counts() -> None:
    ranks = [end(0, TRACE + "ValueError: late", ended=2.0), end(1, TRACE + "ValueError: early", ended=1.0)]

    assert diagnose(ranks).cause == "ValueError: early"


def test_a_rank_told_to_stop_comes_after_one_that_was_killed() -> None:
    ranks = [
        end(0, "working", exit_code=None, signal=15, ended=1.0, told_to_stop=True),
        end(1, "working", exit_code=None, signal=9, ended=1.1),
        end(2, "working", exit_code=None, ended=None),
    ]

    assert diagnose(ranks).rank == 1


def test_a_rank_without_an_end_is_shown_if_it_is_all_there_is() -> None:
    failure = diagnose([end(0, "working", exit_code=None, ended=None), end(1, exit_code=0)])

    assert (failure.rank, failure.cause, failure.exit_code) == (0, "killed together with its launcher", None)


def test_a_crash_because_of_another_rank_is_a_consequence() -> None:
    crash = "terminate called after throwing an instance of 'c10::Error'\n  what():  NCCL communicator was aborted"
    ranks = [end(0, crash, exit_code=None, signal=6, ended=1.0), end(1, TRACE + "OSError: disk", ended=2.0)]

    assert diagnose(ranks).rank == 1


def test_no_rank_at_all_is_the_launchers_failure() -> None:
    failure = diagnose([], "-----\nmpirun could not find anything to do.\n-----\n")

    assert failure == Failure(
        "the processes could not be started: mpirun could not find anything to do.",
        evidence="-----\nmpirun could not find anything to do.\n-----",
        log="logs/launcher.log",
    )


def test_no_rank_and_no_word() -> None:
    assert diagnose([]).cause == "the processes could not be started"


# What shows it


def test_evidence_is_the_last_traceback_with_its_chain(failing: Script) -> None:
    ended = failing(
        """
        import logging
        try:
            {}["early"]
        except KeyError:
            logging.exception("handled long ago")
        print("in between")
        def f():
            try:
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    raise ValueError("middle") from error
            except ValueError:
                raise RuntimeError("first line\\nsecond line")
        f()
        """
    )
    failure = diagnose([ended])

    assert failure.cause == "RuntimeError: first line"
    assert failure.evidence.startswith("Traceback (most recent call last):")
    assert failure.evidence.endswith("RuntimeError: first line\nsecond line")
    for part in ("ZeroDivisionError: division by zero", "direct cause", "ValueError: middle", "During handling"):
        assert part in failure.evidence
    assert "early" not in failure.evidence
    assert "in between" not in failure.evidence


def test_what_is_said_while_python_shuts_down_is_no_cause(failing: Script) -> None:
    ended = failing(
        """
        class Loud:
            def __del__(self):
                raise OSError("while closing")
        loud = Loud()
        import threading
        thread = threading.Thread(target=lambda: [][1])
        thread.start()
        thread.join()
        raise ValueError("the cause")
        """
    )
    assert "while closing" in ended.text
    failure = diagnose([ended])

    assert failure.cause == "ValueError: the cause"
    assert failure.evidence.endswith("ValueError: the cause")


def test_prefixes_of_launchers_are_taken_off() -> None:
    text = "\n".join(f"[rank1]: {line}" for line in (TRACE + "ValueError: x").splitlines())
    mpi = "\n".join(f"[1,0]<stderr>: {line}" for line in (TRACE + "ValueError: x").splitlines())

    for log in (text, mpi):
        failure = diagnose([end(1, log)])
        assert (failure.cause, failure.evidence) == ("ValueError: x", TRACE + "ValueError: x")


def test_a_group_of_exceptions_is_shown() -> None:
    group = '  + Exception Group Traceback (most recent call last):\n  |   File "a.py"\n  | ExceptionGroup: two (2)\n'

    assert diagnose([end(0, "before\n" + group)]).evidence == group.rstrip()


def test_without_a_traceback_the_last_lines_are_shown() -> None:
    failure = diagnose([end(0, "\n".join(f"line {number}" for number in range(50)), exit_code=3)])

    assert failure.cause == "ended with exit code 3: line 49"
    assert failure.evidence.splitlines() == [f"line {number}" for number in range(30, 50)]


def test_no_output_at_all() -> None:
    assert diagnose([end(0, "", exit_code=3)]) == Failure(
        "ended with exit code 3", 0, 3, evidence="", log="logs/rank_0.log"
    )


def test_a_crash_shows_where_python_was(failing: Script) -> None:
    failure = diagnose([failing("import ctypes\nprint('x', flush=True)\ndef f(): ctypes.string_at(0)\nf()")])

    assert failure.cause == "killed by SIGSEGV (segmentation fault)"
    assert failure.exit_code == 139
    assert failure.evidence.startswith("Fatal Python error: Segmentation fault")
    assert "in f" in failure.evidence


# Known causes


@pytest.mark.parametrize(
    ("script", "cause", "advice"),
    [
        (
            "import no_such_module",
            "import failed: ModuleNotFoundError: No module named",
            "environment",
        ),
        ("from os import nothing", "import failed: ImportError: cannot import name 'nothing' from 'os'", "environment"),
        (
            "open('no/file')",
            "a file is missing: FileNotFoundError: [Errno 2] No such",
            "inputs",
        ),
        ("import os; os.write(os.open('/dev/full', 1), b'x')", "disk full: OSError: [Errno 28] No space left", "space"),
        ("raise MemoryError", "out of memory: MemoryError", "smaller batch"),
        ("bytearray(1 << 62)", "out of memory: MemoryError", "smaller batch"),
        ("raise PermissionError(13, 'Permission denied')", "permission denied: PermissionError", "./outputs"),
        ("def f(:", "ended with exit code 1: SyntaxError", ""),
        ("import sys; sys.exit('stop here')", "ended with exit code 1: stop here", ""),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL: most likely out of memory", "smaller batch"),
        ("import os; os.kill(os.getpid(), 7)", "out of shared memory: Fatal Python error: Bus error", "shm_size"),
        ("import os; os.kill(os.getpid(), 10)", "killed by SIGUSR1", ""),
        ("assert 1 == 2, 'sum'", "AssertionError: sum", ""),
    ],
)
def test_causes_of_processes_that_really_failed(failing: Script, script: str, cause: str, advice: str) -> None:
    failure = diagnose([failing(script)])

    assert failure.cause.startswith(cause)
    assert advice in failure.advice
    assert bool(advice) == bool(failure.advice)


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "no.py"], cwd=tmp_path, capture_output=True, text=True)
    failure = diagnose([end(0, done.stderr, exit_code=done.returncode)])

    assert failure.cause.startswith("script not found: ")
    assert "code.script" in failure.advice


@pytest.mark.parametrize(
    ("text", "cause", "advice"),
    [
        (
            TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "out of GPU memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "batch_size",
        ),
        (
            TRACE + "RuntimeError: DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that",
            "out of shared memory: ",
            "shm_size",
        ),
        (
            TRACE + "RuntimeError: DataLoader worker (pid 5) is killed by signal: Killed.",
            "out of memory: ",
            "smaller batch",
        ),
        (
            TRACE + "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
            "out of memory: ",
            "smaller batch",
        ),
        (
            TRACE + "RuntimeError: CUDA error: device-side assert triggered\nx",
            "CUDA assertion failed: ",
            "label",
        ),
        (TRACE + "RuntimeError: Found no NVIDIA driver on your system.", "the GPU cannot be used: ", "gloo"),
        (TRACE + "RuntimeError: Timed out waiting 1000ms for recv operation", "a collective timed out: ", "some rank"),
    ],
)
def test_causes_by_their_text(text: str, cause: str, advice: str) -> None:
    failure = diagnose([end(0, text)])

    assert failure.cause.startswith(cause)
    assert advice in failure.advice


def test_a_quoted_traceback_of_a_worker_belongs_to_the_evidence() -> None:
    text = (
        TRACE + "ValueError: Caught ValueError in DataLoader worker process 0.\n"
        'Original Traceback (most recent call last):\n  File "d.py", line 2, in f\nValueError: bad image'
    )
    failure = diagnose([end(0, text)])

    assert failure.evidence == text
    assert failure.cause == "ValueError: Caught ValueError in DataLoader worker process 0."


def test_an_old_warning_does_not_mislead() -> None:
    text = "retrying: No space left on device\n" + "fine\n" * 30 + TRACE + "ValueError: x"

    assert diagnose([end(0, text)]).cause == "ValueError: x"


def test_every_cause_says_what_to_do() -> None:
    assert all(row.advice and "{line}" in row.name for row in CAUSES)
    assert all(advice for _, advice in SIGNALS.values())
