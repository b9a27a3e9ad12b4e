"""Starting a group of processes, stopping it, leaving none behind."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runner import processes
from runner.processes import Command, Group, birth, free_port, gpu_ids, machine, pause, read_records, share
from tests.watching import wait_for

Starter = Callable[..., Group]


@pytest.fixture
def mark() -> str:
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def start(tmp_path: Path, mark: str) -> Starter:
    """Starts shell lines as one group."""

    def start_lines(*lines: str, grace: float = 5.0, ranks: Path | None = None) -> Group:
        commands = [Command(("bash", "-c", line), os.environ, tmp_path, tmp_path / "log") for line in lines]
        return processes.start(commands, mark, ranks, grace)

    return start_lines


def test_a_group_that_ends_well(start: Starter, tmp_path: Path) -> None:
    outcome = start("echo one", "echo two").wait()

    assert outcome is not None
    assert outcome.succeeded
    assert outcome.exit_codes == (0, 0)
    assert sorted((tmp_path / "log").read_text().split()) == ["one", "two"]


def test_the_first_to_fail_stops_the_others(start: Starter, mark: str) -> None:
    outcome = start("sleep 60", "exit 7", "sleep 60").wait(20)

    assert outcome is not None
    assert outcome.exit_codes == (-signal.SIGTERM, 7, -signal.SIGTERM)
    assert not outcome.stopped
    assert list(processes.marked(mark)) == []


def test_one_that_ignores_sigterm_is_killed_after_the_grace(start: Starter) -> None:
    outcome = start("trap '' TERM; while :; do sleep 0.1; done", "sleep 0.1; exit 1", grace=0.2).wait(20)

    assert outcome is not None
    assert outcome.exit_codes == (-signal.SIGKILL, 1)


def test_stop(start: Starter) -> None:
    group = start("sleep 60", "sleep 60")
    assert group.wait(0.01) is None
    group.stop()
    outcome = group.wait(20)

    assert outcome is not None
    assert outcome.stopped
    assert not outcome.succeeded


def test_what_a_group_leaves_behind_is_ended(start: Starter, mark: str) -> None:
    outcome = start("setsid sleep 60 & (trap '' TERM; while :; do sleep 0.1; done) & sleep 0.1", grace=0.2).wait(20)

    assert outcome is not None
    assert outcome.succeeded
    assert list(processes.marked(mark)) == []


def test_another_runs_processes_are_left_alone(start: Starter, mark: str) -> None:
    environment = {**os.environ, processes.MARK: f"{mark}-other"}
    with subprocess.Popen(["sleep", "60"], env=environment) as other:
        start("true").wait(20)
        assert other.poll() is None
        assert processes.kill(f"{mark}-other") == 1


@pytest.mark.slow
def test_a_failed_rank_limits_how_long_its_launcher_may_take(start: Starter, tmp_path: Path) -> None:
    ranks = tmp_path / "ranks"
    ranks.mkdir()
    (ranks / "0.json").write_text('{"rank": 0, "exit_code": null, "signal": null}')
    group = start("trap '' TERM; while :; do sleep 0.1; done", grace=0.2, ranks=ranks)
    assert group.wait(0.3) is None
    assert group.deadline is None
    (ranks / "1.json").write_text('{"rank": 1, "exit_code": 1, "signal": null}')
    outcome = group.wait(20)

    assert outcome is not None
    assert outcome.exit_codes == (-signal.SIGKILL,)


def test_a_launcher_that_cannot_be_started_leaves_nothing(start: Starter, tmp_path: Path, mark: str) -> None:
    good = Command(("sleep", "60"), os.environ, tmp_path, tmp_path / "log")
    bad = Command(("/no/such/program",), os.environ, tmp_path, tmp_path / "log")

    with pytest.raises(FileNotFoundError):
        processes.start([good, bad], mark)
    assert list(processes.marked(mark)) == []


def test_launchers_end_with_the_process_that_started_them(tmp_path: Path, mark: str) -> None:
    starter = f"""
import os, time
from pathlib import Path
from runner.processes import Command, start
here = Path({str(tmp_path)!r})
group = start([Command(("sleep", "60"), os.environ, here, here / "log")], {mark!r})
print(group.launchers[0].pid, flush=True)
time.sleep(60)  # longer than the test may take: it has to be killed
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        launcher = int(process.stdout.readline())
        assert birth(launcher) is not None
        process.kill()
    wait_for(lambda: birth(launcher) is None)


def test_cores_are_pinned(tmp_path: Path, mark: str) -> None:
    core = processes.core_ids()[-1]
    code = "import os; print(os.sched_getaffinity(0))"
    command = Command((sys.executable, "-c", code), os.environ, tmp_path, tmp_path / "log", (core,))
    processes.start([command], mark).wait()

    assert (tmp_path / "log").read_text() == f"{{{core}}}\n"


def test_records_are_read_by_rank_and_broken_ones_left_out(tmp_path: Path) -> None:
    for rank in (10, 2):
        (tmp_path / f"{rank}.json").write_text(f'{{"rank": {rank}}}')
    (tmp_path / "3.json").write_text('{"ra')

    assert [record["rank"] for record in read_records(tmp_path)] == [2, 10]


@pytest.mark.parametrize(
    ("items", "parts", "shares"),
    [
        ("abcd", 2, ["ab", "cd"]),
        ("abc", 2, ["a", "bc"]),
        ("ab", 3, ["a", "b", "a"]),
        ("abc", 1, ["abc"]),
        ("", 2, ["", ""]),
    ],
)
def test_shares(items: str, parts: int, shares: Sequence[str]) -> None:
    assert ["".join(share(items, index, parts)) for index in range(parts)] == shares


@pytest.mark.parametrize(
    ("visible", "count", "ids"),
    [
        (None, 3, ["0", "1", "2"]),
        ("", 3, []),
        ("2,0", 3, ["2", "0"]),
        ("0,7,1", 3, ["0"]),
        ("-1", 3, []),
        ("GPU-1234, MIG-5", 3, ["GPU-1234", "MIG-5"]),
        ("0,1", 0, []),
    ],
)
def test_visible_gpus(monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int, ids: list[str]) -> None:
    monkeypatch.setattr(processes, "count_gpus", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert gpu_ids() == ids
    assert machine().gpus == len(ids)
    assert machine().cores == len(os.sched_getaffinity(0))


def test_a_birth_is_one_processes_and_ends_with_it() -> None:
    own = birth(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as process:
        other = birth(process.pid)
        process.kill()
        give_up = time.monotonic() + 10
        while birth(process.pid) is not None:  # a zombie counts as ended
            assert time.monotonic() < give_up
    assert own == birth(os.getpid())
    assert None not in (own, other)
    assert birth(process.pid) is None


def test_a_birth_elsewhere_than_on_linux_comes_from_psutil() -> None:
    assert float(processes.birth_elsewhere(os.getpid()) or 0) > 0
    with subprocess.Popen(["true"]) as process:
        pass
    assert processes.birth_elsewhere(process.pid) is None


def test_looking_again_takes_two_percent() -> None:
    assert [pause(0), pause(1), pause(60)] == [0.003, 0.02, 0.1]


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert listener.getsockname() == ("127.0.0.1", port)


def test_a_group_may_be_started_from_a_thread_that_waits_for_it(start: Starter) -> None:
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(start("sleep 0.1").wait(20)))
    thread.start()
    thread.join()

    assert outcomes[0].exit_codes == (0,)
