"""Many clients at once on a scripted emulator: `python -m tests.emulator.load --runs 1000 --clients 32`.

Each client submits its share of the runs, uploads, reads back and compares its share of the artifacts, logs metrics and
asks for states, evenly over the time. Prints errors, requests, latencies and what the server's memory did.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from runner.emulator import instance
from runner.emulator.identity import load_identity
from tests.emulator.conftest import HISTORY, WS, configuration

MEGABYTE = 1 << 20
EXPERIMENT = f"{HISTORY}/experiments/load"
SCRIPT = {"preparing": 5, "starting": 5, "running": 60, "lines": ["a", "b"], "metrics": [{"loss": 1.0}, {"loss": 0.5}]}


@dataclass(frozen=True, slots=True)
class Load:
    runs: int
    clients: int
    megabytes: int
    seconds: float


@dataclass(slots=True)
class Figures:
    """What was seen. `growth_mb`: of the server's memory over the second half of the time."""

    requests: int = 0
    errors: list[str] = field(default_factory=list)
    completed: int = 0
    megabytes: int = 0
    seconds: float = 0.0
    milliseconds_median: float = 0.0
    milliseconds_p99: float = 0.0
    memory_mb: list[int] = field(default_factory=list)
    growth_mb: float = 0.0


class Client:
    """One connection, kept open."""

    def __init__(self, folder: Path, took: list[float]) -> None:
        origin = urlsplit(instance.require_running(folder).origin)
        trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.connection = http.client.HTTPSConnection("127.0.0.1", origin.port, context=trust, timeout=60)
        self.headers = {"Authorization": f"Bearer {load_identity(folder).token({'tid': 't'})}"}
        self.took = took

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Raises RuntimeError for a refusal."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        started = time.monotonic()
        self.connection.request(method, path, data, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        self.took.append(time.monotonic() - started)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content

    def submit(self, run_id: str) -> None:
        body = {"Configuration": configuration(), "Tags": {"a": "b"}}
        self.ask("POST", f"/execution/v1.0{WS}/experiments/load/snapshotrun?runId={run_id}", body)

    def send(self, run_id: str, size: int) -> None:
        """An artifact there and back. Raises RuntimeError if it has changed on the way."""
        here, content = f"/artifact/v2.0{WS}/artifacts", os.urandom(size)
        name = f"outputs/{random.getrandbits(64):x}"
        made = json.loads(
            self.ask("POST", f"{here}/batch/metadata/ExperimentRun/dcid.{run_id}", {"paths": [{"path": name}]})
        )
        self.ask("PUT", below(made["artifactContentInformation"][name]["contentUri"]), content)
        found = json.loads(self.ask("GET", f"{here}/contentinfo/ExperimentRun/dcid.{run_id}/{name}"))
        if self.ask("GET", below(found["contentUri"])) != content:
            raise RuntimeError(f"{name} has changed on its way")

    def look(self, run_id: str) -> None:
        self.ask("POST", f"{EXPERIMENT}/runs:query", {"filter": f"RunId eq {run_id}", "top": 500})
        self.ask("GET", f"{EXPERIMENT}/runs/{run_id}/details")
        row = {"metricId": f"{random.getrandbits(64):x}", "createdUtc": "2026-01-01T00:00:00Z", "data": {"x": 1.0}}
        metric = {"name": "x", "columns": {"x": "double"}, "properties": {}, "value": [row]}
        self.ask("POST", f"/metric/v2.0{WS}/runs/{run_id}/batch", {"values": [metric]})


def below(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def measure(folder: Path, load: Load) -> Figures:
    """Serve in `folder`, load it, and stop it."""
    running, _ = instance.start(instance.Settings(folder, execution="scripted"))
    figures = Figures()
    took: list[float] = []
    try:
        prepare(folder, took)
        started = time.monotonic()
        with watched(running.pid, figures.memory_mb):
            clients = [
                threading.Thread(target=client, args=(folder, load, number, took, figures))
                for number in range(load.clients)
            ]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join()
            figures.seconds = round(time.monotonic() - started, 1)
        instance.ask(folder, "advance", {})
        figures.completed = instance.ask(folder, "status")["runs"].get("Completed", 0)
    finally:
        instance.stop(folder)
    figures.errors += (folder / "emulator.log").read_text().splitlines()
    figures.requests = len(took)
    figures.milliseconds_median = round(statistics.median(took) * 1000, 1)
    figures.milliseconds_p99 = round(sorted(took)[int(len(took) * 0.99)] * 1000, 1)
    figures.growth_mb = growth(figures.memory_mb)
    return figures


def prepare(folder: Path, took: list[float]) -> None:
    scale = {"minNodeCount": 0, "maxNodeCount": 100, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    details = {"vmSize": "Standard_DS3_v2", "vmPriority": "dedicated", "scaleSettings": scale}
    body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": details}}
    speaks = Client(folder, took)
    speaks.ask("PUT", f"{WS}/computes/gpu", body)
    speaks.connection.close()
    instance.ask(folder, "script", {"script": SCRIPT, "speed": 50})


def client(folder: Path, load: Load, number: int, took: list[float], figures: Figures) -> None:
    """Its share of everything, when it is due; otherwise it looks at what it has submitted."""
    mine, megabytes = (len(range(number, total, load.clients)) for total in (load.runs, load.megabytes))
    speaks, started, sent, submitted = Client(folder, took), time.monotonic(), 0, 0
    while (elapsed := time.monotonic() - started) < load.seconds or submitted < mine or sent < megabytes:
        share = min(1.0, elapsed / load.seconds * 1.05)
        try:
            if submitted < max(1, mine * share):
                submitted += 1
                speaks.submit(f"load-{number}-{submitted}")
            elif sent < megabytes * share:
                sent += 1
                speaks.send(f"load-{number}-{submitted}", MEGABYTE)
                figures.megabytes += 1
            else:
                speaks.look(f"load-{number}-{1 + random.randrange(submitted)}")
                time.sleep(0.25)
        except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
            figures.errors.append(f"{type(error).__name__}: {error}")
            speaks.connection.close()  # the next request opens it anew
    speaks.connection.close()


@contextlib.contextmanager
def watched(pid: int, memory_mb: list[int], pause: Callable[[], float] = lambda: 1.0) -> Iterator[None]:
    """The resident memory of a process, about once a second."""
    ended, process = threading.Event(), psutil.Process(pid)

    def watch() -> None:
        while not ended.wait(pause()):
            memory_mb.append(process.memory_info().rss // MEGABYTE)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    ended.set()
    thread.join()


def growth(memory_mb: list[int]) -> float:
    """From the third quarter to the last, by their means."""
    quarter = len(memory_mb) // 4
    if not quarter:
        return 0.0
    return round(statistics.mean(memory_mb[-quarter:]) - statistics.mean(memory_mb[-2 * quarter : -quarter]), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("runs", 1000), ("clients", 32), ("megabytes", 500), ("seconds", 120)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amlrun-load-") as folder:
        found = measure(Path(folder), Load(args.runs, args.clients, args.megabytes, args.seconds))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
