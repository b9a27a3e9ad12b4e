"""Logs of jobs really made to fail: local runs, diagnosed as runs and then, without exit codes, as a folder of logs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner import history
from tests.conftest import ROOT, Cli, write

pytestmark = pytest.mark.slow

LIMIT = "import resource; resource.setrlimit(resource.{0}, ({1}, {1}))\n"


@dataclass(frozen=True)
class Job:
    """A script that fails; the row of the table, the exact beginning of the cause, and what its logs alone say.

    `alone`: the kind that the log shows without an exit code, the same where it is None; '' where it shows nothing.
    """

    script: str
    kind: str
    cause: str
    alone: str | None = None


JOBS = {
    "import_error": Job("import no_such_module", "import", "import failed: ModuleNotFoundError: No module named 'no_s"),
    "memory": Job(
        LIMIT.format("RLIMIT_AS", 1 << 29) + "x = bytearray(1 << 30)", "host_memory", "out of memory: MemoryError"
    ),
    "device_full": Job(
        "import os; os.write(os.open('/dev/full', 1), b'x')", "disk_full", "disk full: OSError: [Errno 28] No space"
    ),
    "file_too_large": Job(
        LIMIT.format("RLIMIT_FSIZE", 4096) + "open('outputs/x', 'wb', buffering=0).write(b'x' * 8192)\n"
        "open('outputs/x', 'ab', buffering=0).write(b'x')",
        "disk_full",
        "disk full: OSError: [Errno 27] File too large",
    ),
    "bus_error": Job(
        """
        import mmap, os
        file = open("outputs/shared", "wb+")
        file.truncate(1 << 20)
        memory = mmap.mmap(file.fileno(), 1 << 20)
        file.truncate(0)
        memory[1 << 19]
        """,
        "shared_memory",
        "killed by SIGBUS (bus error): most likely out of shared memory",
    ),
    "segfault": Job(
        "import ctypes\nprint('before', flush=True)\nctypes.string_at(0)",
        "segfault",
        "killed by SIGSEGV (segmentation fault)",
    ),
    "killed": Job(
        "import os\nprint('step 1', flush=True)\nos.kill(os.getpid(), 9)",
        "host_memory",
        "killed by SIGKILL: most likely out of memory",
        "",
    ),
    "aborted": Job("import os; os.abort()", "aborted", "killed by SIGABRT (aborted)", "crash"),
    "exit_without_a_word": Job("import os; os._exit(3)", "exit_code", "ended with exit code 3", ""),
    "exit_with_words": Job("import sys; sys.exit('no data today')", "exit_code", "ended with exit code 1: no data", ""),
    "missing_file": Job("open('data/train.csv')", "file_missing", "a file is missing: FileNotFoundError: [Errno 2]"),
    "permission": Job(
        "raise PermissionError(13, 'Permission denied', '/data')", "permission", "permission denied: PermissionError"
    ),
    "usage": Job(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()",
        "usage",
        "wrong arguments: job_usage.py: error: the following arguments are required: --lr",
    ),
    "pickling": Job(
        "import pickle; pickle.dumps(lambda: 0)", "pickling", "an object cannot be sent to another process: "
    ),
    "worker_process": Job(
        """
        import multiprocessing
        def square(x): return x / 0
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(1) as pool:
                pool.map(square, [1])
        """,
        "exception",
        "ZeroDivisionError: division by zero",
    ),
    "recursion": Job(
        "def f(x): return g(x)\ndef g(x): return f(x)\nf(1)", "exception", "RecursionError: maximum recursion depth"
    ),
    "chain": Job(
        "try:\n    {}['lr']\nexcept KeyError as e:\n    raise ValueError('no learning rate') from e",
        "exception",
        "ValueError: no learning rate",
    ),
    "cleanup_fails_too": Job(
        "try:\n    open('/dev/full', 'wb', buffering=0).write(b'x')\nexcept OSError:\n    raise RuntimeError('odd')",
        "disk_full",
        "disk full: OSError: [Errno 28] No space left on device",
    ),
    "not_utf8": Job(
        "import os\nos.write(1, b'\\xff\\xfe loss \\x80\\n')\nraise ValueError('caf\\xe9')",
        "exception",
        "ValueError: café",
    ),
    "long_message": Job("raise ValueError('x' * 100_000)", "exception", "ValueError: xxxxxxxx"),
    "syntax": Job("def f(:", "not_python", "the code is not valid Python: SyntaxError: invalid syntax"),
    "no_script": Job(
        "import os, sys; os.execv(sys.executable, [sys.executable, 'gone.py'])", "script_missing", "script not found: "
    ),
    "no_program": Job(
        "import os; os.execvp('bash', ['bash', '-c', 'no-such-program --x'])", "program_missing", "program not found: "
    ),
    "too_many_files": Job(
        LIMIT.format("RLIMIT_NOFILE", 20) + "files = [open('/dev/null') for _ in range(30)]",
        "too_many_files",
        "too many open files: OSError: [Errno 24]",
    ),
    "download": Job(
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1/data.zip')",
        "network",
        "a download or a service failed: urllib.error.URLError: <urlopen error [Errno 111] Connection refused>",
    ),
    "port": Job(
        "import socket\na, b = socket.socket(), socket.socket()\na.bind(('127.0.0.1', 0))\na.listen()\n"
        "b.bind(a.getsockname())",
        "port_in_use",
        "the port is taken: OSError: [Errno 98] Address already in use",
    ),
    "logged_and_exited": Job(
        "import logging, sys\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('training failed')\n"
        "    sys.exit(1)",
        "exception",
        "ZeroDivisionError: division by zero",
    ),
    "handled_then_failed": Job(
        "import traceback\ntry:\n    open('no')\nexcept OSError:\n    traceback.print_exc()\n"
        "for epoch in range(20): print('epoch', epoch)\nraise ValueError('later')",
        "exception",
        "ValueError: later",
    ),
}
# Error text, and exit code 0.
FINE = {
    "handled": "import traceback\ntry:\n    open('no')\nexcept OSError:\n    traceback.print_exc()\nprint('no')",
    "thread_dies": "import threading\nt = threading.Thread(target=lambda: [][1])\nt.start()\nt.join()",
}
Runs = Mapping[str, tuple[Path, str]]


def sweep(project: Path, scripts: Mapping[str, str]) -> Runs:
    """Run every script as a local run of one sweep; returns project and run id of each."""
    write(project, {f"job_{name}.py": textwrap.dedent(text).strip() + "\n" for name, text in scripts.items()})
    names = ",".join(f"job_{name}.py" for name in scripts)
    command = [sys.executable, "-m", "runner", "run", "-q", "-m", f"code.script={names}", "compute.slots=4"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode in (0, 5), done.stderr
    runs, problems = history.list_runs(project)
    assert (len(runs), problems) == (len(scripts), [])
    plans = {run.id: history.load_plan(project, run.id) for run in runs}
    return {str(plan.script)[len("job_") : -len(".py")]: (project, run_id) for run_id, plan in plans.items()}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    project = tmp_path_factory.mktemp("failing") / "project"
    write(project, {"configs/config.yaml": (ROOT / "configs/config.yaml").read_text()})
    return sweep(project, {**{name: job.script for name, job in JOBS.items()}, **FINE})


def diagnosed(cli: Cli, runs: Runs, name: str) -> tuple[int, dict[str, Any]]:
    project, run_id = runs[name]
    done = cli(project, "diagnose", run_id, "--json")
    assert done.err == ""
    return done.code, json.loads(done.out)


def brought(runs: Runs, name: str, to: Path) -> Path:
    """The logs of a run as somebody sends them: without the notes of exit codes."""
    project, run_id = runs[name]
    shutil.copytree(project / ".runs" / run_id / "logs", to / "logs", ignore=shutil.ignore_patterns("launcher.log"))
    return to


@pytest.mark.parametrize("name", JOBS)
def test_a_run_is_diagnosed(cli: Cli, failed: Runs, name: str) -> None:
    code, found = diagnosed(cli, failed, name)
    job = JOBS[name]
    assert (code, found["kind"], found["rank"]) == (5, job.kind, 0)
    assert found["cause"].startswith(job.cause)
    assert found["consequences"] == ""
    assert len(found["evidence"]) < 20_000
    assert Path(found["log"]).is_file()
    project, run_id = failed[name]
    stored = history.load_run(project, run_id).failure
    assert stored is not None
    assert (stored.cause, stored.evidence, stored.advice) == (found["cause"], found["evidence"], found["advice"])


@pytest.mark.parametrize("name", JOBS)
def test_its_logs_alone_say_the_same(cli: Cli, failed: Runs, name: str, tmp_path: Path) -> None:
    done = cli(tmp_path, "diagnose", str(brought(failed, name, tmp_path / "sent")), "--json")
    found, job = json.loads(done.out), JOBS[name]
    alone = job.kind if job.alone is None else job.alone
    assert (done.code, found.get("kind", "")) == (5 if alone else 0, alone)
    assert not alone or found["rank"] == 0


@pytest.mark.parametrize("name", FINE)
def test_error_text_with_exit_code_0_is_no_failure(cli: Cli, failed: Runs, name: str) -> None:
    code, found = diagnosed(cli, failed, name)
    assert (code, found["failed"]) == (0, False)


def test_people_see_cause_evidence_advice_and_log(cli: Cli, failed: Runs) -> None:
    project, run_id = failed["missing_file"]
    done = cli(project, "diagnose", run_id)
    log = project / ".runs" / run_id / "logs" / "rank_0.log"
    first, *shown, advice, last = done.out.splitlines()
    assert first.startswith("rank 0: a file is missing: FileNotFoundError")
    assert shown[0] == "    Traceback (most recent call last):"
    assert (advice.partition(":")[0], last) == ("what to do", f"log: {log}")


def test_frames_and_lines_without_end_are_cut(cli: Cli, failed: Runs) -> None:
    _, recursion = diagnosed(cli, failed, "recursion")
    assert len(recursion["evidence"].splitlines()) <= 81
    assert " lines ..." in recursion["evidence"]
    _, long = diagnosed(cli, failed, "long_message")
    assert (long["cause"][-8:], len(long["cause"])) == ("xxxx ...", 504)
