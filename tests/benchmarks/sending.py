"""B4 and B10: many jobs sent to the emulator of Azure, and many running runs followed. Needs azureml-core."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from runner.emulator import instance
from runner.follow_sweep import POLL_SECONDS
from tests.benchmarks.measuring import ROOT, CannotMeasure, Result, compared

FULL = bool(os.environ.get("FULL"))
JOBS, LATENCY_SECONDS = 200, 0.05
# A loop's time is proportional to its length: without FULL it is as long as this and counted up.
LOOP = JOBS if FULL else 40
FOLLOWED_SECONDS = 60 if FULL else 20
PROJECT = ("compute=cpu-cluster", "workspace=emulator", "env=image", "env.image=mcr.microsoft.com/x/y:1")
# As configs/workspace/emulator.yaml has them.
NAMES = ("00000000-0000-0000-0000-000000000000", "emulator", "emulator")
FOREVER = {"preparing": 1, "starting": 1, "running": 1_000_000}


@dataclass(frozen=True, slots=True)
class Bench:
    """A project with a script, and an emulator; commands run with an interpreter that has the SDK."""

    project: Path
    emulator: Path
    python: str

    def command(self, *argv: str, **more: str) -> str:
        """Raises CannotMeasure with the end of what it said."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), instance.FOLDER_VARIABLE: str(self.emulator), **more}
        done = subprocess.run([self.python, *argv], cwd=self.project, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise CannotMeasure(f"'{' '.join(argv)[:120]}' exited with {done.returncode}: {done.stderr[-600:]}")
        return done.stdout

    def send(self, *overrides: str) -> None:
        self.command("-m", "runner", "run", "-q", "--detach", "code.script=main.py", *PROJECT, *overrides)

    def asked(self, since: int = 0) -> list[Mapping[str, str]]:
        """Requests of clients, from that one on."""
        seen = instance.ask(self.emulator, "requests")["requests"]
        return [each for each in seen if not each["path"].startswith(("/_emulator/", "/msi/"))][since:]


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    python = next((path for path in interpreters() if has_sdk(path)), None)
    if python is None:
        raise CannotMeasure("azureml-core is not installed; make azure")
    with tempfile.TemporaryDirectory(prefix="amlrun-bench-") as name:
        place, emulator = Path(name, "project"), Path(name, "emulator")
        (place / "configs").mkdir(parents=True)
        (place / "configs" / "config.yaml").write_text((ROOT / "configs" / "config.yaml").read_text())
        (place / "main.py").write_text("print('done')\n")
        instance.start(instance.Settings(emulator, python=python, execution="scripted"))
        try:
            yield Bench(place, emulator, python)
        finally:
            instance.stop(emulator)


def interpreters() -> tuple[str, ...]:
    return sys.executable, str(ROOT / ".venv-azure" / "bin" / "python")


def has_sdk(python: str) -> bool:
    if python == sys.executable:
        return find_spec("azureml") is not None
    known = Path(python).exists()
    return known and subprocess.run([python, "-c", "import azureml.core"], capture_output=True).returncode == 0


def b4() -> Iterator[Result]:
    """The whole command here, from the shell to the last job; there the loop alone, without the imports."""
    with bench() as place:
        place.send()  # the cluster and the environment are there for both
        instance.ask(place.emulator, "latency", {"least": LATENCY_SECONDS})
        before, began = len(place.asked()), time.perf_counter()
        place.send("-m", f"seed=range({JOBS})")
        ours = time.perf_counter() - began
        notes = requests_of(place.asked(before))
        theirs = loop(place) * JOBS / LOOP
        sent = sum(instance.ask(place.emulator, "status")["runs"].values()) - LOOP - 1
    if sent != JOBS:
        raise CannotMeasure(f"{sent} of {JOBS} jobs arrived")
    work = f"send {JOBS} jobs, {LATENCY_SECONDS * 1000:g} ms a request"
    row = compared("B4", work, "a loop of Experiment.submit", (ours, theirs, "s"), ("<=", 1 / 6), notes)
    kept = float(notes["snapshot uploads"]) <= 1 and float(notes["requests per job"]) <= 3
    yield replace(row, bar=f"{row.bar}, 1 upload, 3 requests a job", met=row.met and kept)


def requests_of(seen: list[Mapping[str, str]]) -> dict[str, float | str]:
    uploads = sum(each["method"] == "POST" and "/content/" in each["path"] for each in seen)
    posts = [each for each in seen if each["path"].endswith("/snapshotrun")]
    changes = [each for each in seen if each["method"] == "PATCH"]
    return {
        "requests": len(seen),
        "snapshot uploads": uploads,
        "requests per job": (len(posts) + len(changes)) / JOBS,
    }


def loop(place: Bench) -> float:
    authority = str(place.emulator / "ca.pem")
    variables = {**instance.variables(place.emulator), "REQUESTS_CA_BUNDLE": authority, "SSL_CERT_FILE": authority}
    code = place.emulator.parent / "code"
    code.mkdir()
    (code / "main.py").write_text("print('done')\n")
    script = str(ROOT / "tests" / "benchmarks" / "loops" / "submitting.py")
    said = place.command(script, str(code), *NAMES, "cpu-cluster", str(LOOP), **variables)
    return float(said.split()[-1])


def b10() -> Iterator[Result]:
    """How often all their states are asked for, for each look at them."""
    with bench() as place:
        instance.ask(place.emulator, "script", {"script": FOREVER, "speed": 0})
        # A cluster has 100 nodes at most.
        place.send("-m", "compute.name=one,two", f"seed=range({JOBS // 2})", f"compute.max_nodes={JOBS // 2}")
        instance.ask(place.emulator, "advance", {"seconds": 600})
        running = instance.ask(place.emulator, "status")["runs"].get("Running", 0)
        if running != JOBS:
            raise CannotMeasure(f"{running} of {JOBS} runs are running")
        before = len(place.asked())
        watch(place)
        seen = place.asked(before)
    queries = sum(each["path"].endswith("runs:query") for each in seen)
    looks = FOLLOWED_SECONDS / POLL_SECONDS
    notes: dict[str, float | str] = {"running": running, "requests in all": len(seen), "status requests": queries}
    work = f"follow {JOBS} runs for {FOLLOWED_SECONDS} s, status requests"
    yield compared("B10", work, "one for each look", (float(queries), looks, "requests"), ("<=", 1.0), notes)


def watch(place: Bench) -> None:
    """From its first question on, so long; then Ctrl-C."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), instance.FOLDER_VARIABLE: str(place.emulator)}
    command = [place.python, "-m", "runner", "watch", "last-sweep"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored (in the background) a child ignores, too
    with subprocess.Popen(
        command, cwd=place.project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(FOLLOWED_SECONDS)  # what is measured: how many requests following sends in so long
        process.send_signal(signal.SIGINT)
        process.communicate()


BENCHMARKS = {"B4": b4, "B10": b10}
