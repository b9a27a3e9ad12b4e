"""Which rank failed first, why, and what shows it. Many logs here come from processes really made to fail."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.diagnose import CAUSES, CONSEQUENCES, SIGNALS, Diagnosis, NamedLog, RankEnd, diagnose, examine, explain
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
    mpi = "\n".join(f"[1,0]<stderr>:{line}" for line in (TRACE + "ValueError: x").splitlines())
    newer = "\n".join(f"[prterun-node-7@1,0]<stderr>: {line}" for line in (TRACE + "ValueError: x").splitlines())

    for log in (text, mpi, newer):
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
        ("def f(:", "the code is not valid Python: SyntaxError", "correct that line"),
        ("import sys; sys.exit('stop here')", "ended with exit code 1: stop here", ""),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL: most likely out of memory", "smaller batch"),
        ("import os; os.kill(os.getpid(), 7)", "killed by SIGBUS (bus error): most likely out of shared", "shm_size"),
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
            "a label or index is out of range: ",
            "label",
        ),
        (TRACE + "RuntimeError: Found no NVIDIA driver on your system.", "the GPU cannot be used: ", "gloo"),
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


@pytest.mark.parametrize(
    "noise",
    [
        "terminate called without an active exception\nFatal Python error: Aborted\n\nThread 0x0 (most recent):\n",
        "Fatal Python error: Aborted\n\nCurrent thread 0x0 (most recent call first):\n  File 'x.py', line 1 in f\n",
        "*** Process received signal ***\n",
    ],
)
def test_what_crashes_after_the_traceback_is_no_part_of_it(noise: str) -> None:
    trace = "Traceback (most recent call last):\n  File 'a.py', line 1, in <module>\nValueError: boom\nin two lines"
    found = diagnose([RankEnd(0, f"{trace}\n{noise}", "rank_0.log", exit_code=134, signal=6)])
    assert found.evidence == trace


def test_an_old_warning_does_not_mislead() -> None:
    text = "retrying: No space left on device\n" + "fine\n" * 30 + TRACE + "ValueError: x"

    assert diagnose([end(0, text)]).cause == "ValueError: x"


def test_every_cause_says_what_to_do() -> None:
    assert all(row.advice and "{line}" in row.name for row in CAUSES)
    assert all(meaning.advice for meaning in SIGNALS.values())
    assert len({row.kind for row in CAUSES}) == len(CAUSES)
    assert len({row.name for row in CONSEQUENCES}) == len(CONSEQUENCES)


# Consequences and culprits


LOST = [end(0, PEER, ended=1.0), end(2, PEER, ended=1.5)]


def test_how_the_others_failed_is_one_line() -> None:
    stopped = end(3, "working", exit_code=None, signal=15, told_to_stop=True)
    found = explain([*LOST, stopped, end(1, TRACE + "KeyError: 'x'", ended=9.0)])

    assert found.failure.rank == 1
    assert (
        found.consequences == "3 other ranks failed in consequence: connection closed (2), stopped by its launcher (1)"
    )
    assert (found.kind, found.world_size) == ("exception", 4)


def test_without_a_cause_the_rank_that_was_still_running_is_the_likely_culprit() -> None:
    found = explain([*LOST, end(1, "step 9", exit_code=None, signal=15, told_to_stop=True)])

    assert (found.kind, found.failure.rank, found.failure.exit_code) == ("hanging_rank", 1, 143)
    assert found.failure.evidence == "step 9"
    assert found.failure.cause == (
        "the likely culprit: it was still running while 2 other ranks said 'connection closed'"
    )


def test_of_several_suspects_all_are_named() -> None:
    waiting = [end(rank, "step", exit_code=None, signal=15, told_to_stop=True) for rank in (1, 3, 4)]
    found = explain([*LOST, *waiting])

    assert found.failure.rank == 1
    assert found.failure.cause.endswith(" (the same holds for ranks 3, 4)")


def test_a_rank_that_the_others_name_is_the_first_suspect() -> None:
    barrier = TRACE + "RuntimeError: [Rank 0]: Rank 3 failed to pass monitoredBarrier in 10000 ms"
    waiting = [end(rank, "step", exit_code=None, signal=15, told_to_stop=True) for rank in (1, 3)]

    assert explain([end(0, barrier), *waiting]).failure.rank == 3


def test_a_rank_that_ended_well_while_others_waited_is_the_likely_culprit() -> None:
    found = explain([*LOST, end(1, "done", exit_code=0)])

    assert (found.kind, found.failure.rank) == ("early_end", 1)


def test_where_every_rank_only_lost_the_others_that_is_said() -> None:
    found = explain(LOST)

    assert (found.kind, found.failure.rank) == ("consequence", 0)
    assert found.failure.cause.startswith("connection closed: RuntimeError: [/pytorch/gloo/transport")


def test_a_single_process_has_nobody_to_lose() -> None:
    found = explain([end(0, TRACE + "ConnectionRefusedError: [Errno 111] Connection refused")])

    assert (found.kind, found.failure.cause) == ("exception", "ConnectionRefusedError: [Errno 111] Connection refused")


def test_cleaning_up_after_a_failure_does_not_hide_it() -> None:
    during = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    own = TRACE + "ValueError: mine" + during + TRACE + "RuntimeError: Connection closed by peer [10.0.0.4]:17"
    lost = PEER + during + TRACE + "FileNotFoundError: [Errno 2] No such file or directory: 'lock'"
    found = explain([end(0, lost, ended=1.0), end(1, own, ended=2.0)])

    assert (found.failure.rank, found.failure.cause) == (1, "ValueError: mine")


def test_what_a_shell_made_an_exit_code_of_is_a_signal_still() -> None:
    assert diagnose([end(0, "step 1", exit_code=137)]).cause == "killed by SIGKILL: most likely out of memory"


def test_secrets_are_marked_over() -> None:
    secret = "c2lnbmF0dXJl" * 4
    text = TRACE + f"OSError: https://x.blob.core.windows.net/a?sv=2020&sig={secret}&se=2030 not readable"
    failure = diagnose([end(0, text)])

    assert secret not in failure.cause + failure.evidence
    assert "not readable" in failure.cause


# Logs alone


def by_text(**texts: str) -> Diagnosis | None:
    return examine([NamedLog(f"user_logs/std_log_process_{name[1:]}.txt", text) for name, text in texts.items()])


def test_logs_without_an_error_show_no_failure() -> None:
    assert by_text(r0="epoch 1\n", r1="epoch 1\n") is None
    assert by_text(r0="warning: No such file or directory, using the default\n") is None


@pytest.mark.parametrize(
    ("after", "failed"),
    [
        ("", True),
        ("[2020-12-01T23:51:00.9] The experiment failed. Finalizing run...\nCleaning up all outstanding Run\n", True),
        ("wandb: run summary\n" * 30, True),
        ("\n".join(f"epoch {number}" for number in range(10)), True),
        ("\n".join(f"epoch {number}" for number in range(11)), False),
        ("x\n[2020-12-01T23:51:00.9] The experiment completed successfully. Finalizing run...\n", False),
    ],
)
def test_what_follows_a_traceback_tells_whether_it_ended_the_process(after: str, failed: bool) -> None:
    assert (by_text(r0=TRACE + "ValueError: x\n" + after) is not None) == failed


def test_a_logged_traceback_counts_only_at_the_end() -> None:
    logged = "ERROR:root:could not write\n" + TRACE + "ValueError: x\n"

    assert by_text(r0=logged) is not None
    assert by_text(r0=logged + "epoch 2\n") is None


def test_the_earlier_time_in_the_lines_decides() -> None:
    late = "2020-09-25 16:52:57,640 step\n" + TRACE + "ValueError: late"
    early = "[2020-09-25T16:52:53.1] step\n" + TRACE + "ValueError: early"
    found = by_text(r0=late, r1=early)

    assert found is not None
    assert found.failure.cause == "ValueError: early"


def test_a_missing_number_is_a_missing_log() -> None:
    found = by_text(r0=PEER, r2=PEER)

    assert found is not None
    assert (found.kind, found.failure.rank, found.failure.log) == ("missing_rank", 1, None)


@pytest.mark.parametrize(
    "line",
    [
        "mpirun noticed that process rank 1 with PID 7 on node x exited on signal 9 (Killed).",
        "prterun noticed that process rank 1 with PID 7 on node x exited on signal 9 (Killed).",
        "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: -9) local_rank: 1 (pid: 7) of binary: x",
        "Process name: [[1234,1],1]\nExit code:    137",
        "Process 1 exit with status code 137.",
    ],
)
def test_what_launchers_state_counts_as_the_exit_code(line: str) -> None:
    logs = [NamedLog("rank_0.log", PEER), NamedLog("rank_1.log", "step 1"), NamedLog("mpi_log.txt", line)]
    found = examine(logs)

    assert found is not None
    assert (found.kind, found.failure.rank, found.failure.log) == ("host_memory", 1, "rank_1.log")


def test_a_rank_that_its_launcher_stopped_is_no_cause() -> None:
    line = "failed (exitcode: -15) local_rank: 0 (pid: 7) of binary: x"

    assert examine([NamedLog("rank_0.log", "step"), NamedLog("launcher.log", line)]) is None


def test_several_ranks_in_one_stream_are_told_apart() -> None:
    stream = "".join(f"[1,0]<stderr>:{line}\n" for line in PEER.splitlines())
    stream += "".join(f"[1,1]<stderr>:{line}\n" for line in (TRACE + "ValueError: mine").splitlines())
    found = examine([NamedLog("mpi_log.txt", stream)])

    assert found is not None
    assert (found.failure.rank, found.failure.cause, found.world_size) == (1, "ValueError: mine", 2)
    assert found.failure.evidence == TRACE + "ValueError: mine"


# Logs of the node

BUILD = "azureml-logs/20_image_build_log.txt"
TROUBLE = "ERROR: Could not find a version that satisfies the requirement x==1, trying the next index\n"


def test_a_rank_that_failed_by_itself_comes_before_trouble_of_its_node() -> None:
    node = NamedLog("system_logs/lifecycler/lifecycler.log", "lost connection to node, trying again\n")
    rank = NamedLog("user_logs/std_log.txt", TRACE + "ValueError: mine\n")

    assert kind_of(node, rank) == ("exception", 0)
    assert kind_of(node, NamedLog("user_logs/std_log.txt", "epoch 1\n")) == ("preempted", None)


def test_trouble_of_a_build_that_ended_well_is_no_failure() -> None:
    rank = NamedLog("azureml-logs/70_driver_log.txt", "epoch 1\n")

    assert kind_of(NamedLog(BUILD, TROUBLE + "Successfully tagged example.azurecr.io/x:latest\n"), rank) is None
    assert kind_of(NamedLog(BUILD, TROUBLE), rank) == ("environment", None)


def test_the_life_of_a_job_orders_the_logs_of_its_node() -> None:
    full = "No space left on device\n"
    logs = [NamedLog("azureml-logs/80_driver_log.txt", full), NamedLog(BUILD, TROUBLE)]

    assert kind_of(*logs) == ("environment", None)
    assert kind_of(logs[0]) == ("disk_full", None)


def kind_of(*logs: NamedLog) -> tuple[str, int | None] | None:
    found = examine(logs)
    return None if found is None else (found.kind, found.failure.rank)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("odd", ["Root Cause (first observed failure):\n", "Process name: [", "mount ", "x=1;token="])
def test_odd_logs_of_a_megabyte_take_no_minutes(odd: str) -> None:
    text = odd * (1_000_000 // len(odd))

    assert examine([NamedLog("azureml-logs/60_control_log.txt", text), NamedLog("std_log.txt", text)]) is None
