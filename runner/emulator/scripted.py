"""Runs without processes: each goes through the phases of its script on a virtual clock.

The clock goes `speed` virtual seconds a second, and as far as `advance` says. For load, faults and queues: thousands of
runs cost thousands of rows. Nodes of clusters are respected.
"""

from __future__ import annotations

import heapq
import json
import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runner.emulator import artifacts, metrics, preemption, records
from runner.emulator.checking import only_known, rows, section, shortened
from runner.emulator.messages import ServiceError, bad_request, error_body, now
from runner.emulator.service import Service

# A run's own script, in a tag; `amlrun emulator script` sets that of all others.
TAG = "emulator.script"
LOG = "user_logs/std_log.txt"
PHASES = ("preparing", "starting", "running", "finalizing")
FIELDS = (*PHASES, "final", "lines", "metrics")
MAX_PHASE_SECONDS = 1e9
TICK_SECONDS = 0.02
SPEED = 100.0
# How many steps are done before the clients' threads have a turn.
STEPS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Script:
    """Virtual seconds per phase, the end, and what the run says and logs meanwhile, evenly spread."""

    preparing: float = 5.0
    starting: float = 5.0
    running: float = 60.0
    finalizing: float = 5.0
    final: str = "Completed"
    lines: tuple[str, ...] = ()
    metrics: tuple[Mapping[str, float], ...] = ()


@dataclass(slots=True, eq=False)
class Part:
    """A run that plays. `turn` counts what has made earlier plans for it void."""

    id: str
    cluster: str
    nodes: int
    script: Script
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    do: Callable[[], None]
    holds: Callable[[], bool]


@dataclass(slots=True)
class Clock:
    """What is to happen when, in the order in which it was planned. What does not hold any more moves no clock."""

    seconds: float = 0.0
    plans: list[tuple[float, int, Plan]] = field(default_factory=list)
    made: int = 0

    def plan(self, at: float, plan: Plan) -> None:
        self.made += 1
        heapq.heappush(self.plans, (at, self.made, plan))

    def step(self, until: float) -> bool:
        """Do the next thing that is due by then; False if there is none, and it is then."""
        while self.plans and not self.plans[0][2].holds():
            heapq.heappop(self.plans)
        if self.plans and self.plans[0][0] <= until:
            self.seconds, _, plan = heapq.heappop(self.plans)
            plan.do()
            return True
        self.seconds = max(self.seconds, until) if math.isfinite(until) else self.seconds
        return False

    def forget(self, most: int) -> None:
        """Of more plans than these only those are kept that hold: others may lie years ahead."""
        if len(self.plans) > most:
            self.plans = [item for item in self.plans if item[2].holds()]
            heapq.heapify(self.plans)


Item = TypeVar("Item")
Step = tuple[float, Callable[[Part], None]]


class ScriptedEngine:
    """One thread plays all runs; what clients ask for waits in `asked` until it has a moment."""

    def __init__(self, service: Service, speed: float = SPEED) -> None:
        self.service = service
        self.speed = speed
        self.default = Script()
        self.clock = Clock()
        self.jobs: dict[str, Part] = {}
        self.waiting: dict[str, deque[Part]] = {}
        self.taken: dict[str, dict[str, int]] = {}
        self.asked: deque[Callable[[], None]] = deque()
        self.lock = threading.RLock()
        self.wake = threading.Event()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.play, name="scripted", daemon=True)
        self.thread.start()

    def submit(self, run_id: str) -> None:
        self.ask(lambda: self.enter(run_id))

    def cancel(self, run_id: str) -> None:
        self.ask(lambda: self.leave(run_id, "Canceled"))

    def looked_at(self, run_id: str) -> None: ...

    def nodes_in_use(self, compute: str) -> int:
        return sum(self.taken.get(compute.lower(), {}).copy().values())

    def holder(self, compute: str, number: int) -> tuple[str, int] | None:
        for run_id, count in self.taken.get(compute.lower(), {}).copy().items():
            if number < count:
                return run_id, number
            number -= count
        return None

    def evicted(self, run_id: str) -> frozenset[int]:
        """None ever: `preempt` takes no time."""
        return frozenset()

    def preempt(self, run_id: str, nodes: frozenset[int], grace: float) -> bool:
        """All nodes of the run, at once: there is nothing that a grace could be given to."""
        with self.lock:
            part = self.jobs.get(run_id)
            if part is None or run_id not in self.taken.get(part.cluster, {}):
                return False
            cluster = self.service.store.get("compute", "", part.cluster) or {}
            if cluster.get("priority") != preemption.LOW_PRIORITY:
                self.leave(run_id, "Failed", preemption.failed())
                return True
            part.turn += 1
            self.give_back(part)
            self.queue(part)
            self.wake.set()
            return True

    def advance(self, seconds: float) -> int:
        """Let the clock go on (math.inf: until nothing is planned); returns how many things have happened."""
        with self.lock:
            self.answer()
            until, done = self.clock.seconds + seconds, 0
            while self.clock.step(until):
                done += 1
            return done

    def stop(self) -> None:
        with self.lock:
            self.answer()
            for run_id in list(self.jobs):
                error = error_body("JobCanceled", "the emulator was stopped while the run was going on")
                self.leave(run_id, "Canceled", error)
            self.clock.plans.clear()

    def close(self) -> None:
        """End the thread."""
        self.ended.set()
        self.wake.set()
        self.thread.join()

    def resume(self) -> None:
        """After a start: what had not ended begins anew."""
        for run in self.service.store.having("run", "runtype", records.SCRIPT_RUN):
            if run["status"] not in records.FINAL:
                self.submit(run["runId"])

    def set_pace(self, speed: float) -> None:
        """Virtual seconds a second; 0: only `advance` moves the clock."""
        self.speed = speed
        self.wake.set()

    def ask(self, do: Callable[[], None]) -> None:
        """Never waits: whoever asks may hold the store, for which the thread that plays waits."""
        self.asked.append(do)
        self.wake.set()

    def answer(self) -> None:
        while self.asked:
            self.asked.popleft()()
        for name in [name for name, parts in self.waiting.items() if parts]:
            self.give(name)  # the cluster may have grown

    def play(self) -> None:
        """A mistake in one step must not end all runs."""
        before = time.monotonic()
        while not self.ended.is_set():
            moves = bool(self.clock.plans and self.speed)
            self.wake.wait(TICK_SECONDS if moves else None)
            self.wake.clear()
            elapsed, before = time.monotonic() - before, time.monotonic()
            try:
                self.tick(elapsed * self.speed if moves else 0.0)
            except Exception:  # noqa: BLE001
                traceback.print_exc(file=sys.stderr)

    def tick(self, seconds: float) -> None:
        until = self.clock.seconds + seconds
        more = True
        while more:
            with self.lock:
                self.answer()
                for _ in range(STEPS_AT_ONCE):
                    more = self.clock.step(until)

    def enter(self, run_id: str) -> None:
        run = records.require_run(self.service, run_id)
        layout = run["runDefinition"]["layout"]
        script = self.script_of(run)
        part = Part(run_id, str(run["target"]).lower(), int(layout["nodes"]), script)
        self.jobs[run_id] = part
        records.set_status(self.service, run_id, "Preparing")
        self.later(part, script.preparing, self.queue)

    def script_of(self, run: Mapping[str, Any]) -> Script:
        """The run's own script, if it has one that can be read."""
        own = run["tags"].get(TAG)
        try:
            return script_from(json.loads(own)) if own else self.default
        except (ValueError, ServiceError):
            return self.default

    def later(self, part: Part, after: float, do: Callable[[Part], None]) -> None:
        self.at(part, self.clock.seconds + after, do)

    def at(self, part: Part, seconds: float, do: Callable[[Part], None]) -> None:
        turn = part.turn
        self.clock.plan(seconds, Plan(lambda: do(part), lambda: part.turn == turn and self.jobs.get(part.id) is part))

    def queue(self, part: Part) -> None:
        records.set_status(self.service, part.id, "Queued")
        self.waiting.setdefault(part.cluster, deque()).append(part)
        self.give(part.cluster)

    def give(self, name: str) -> None:
        """Nodes to those that wait, in order, as far as there are any."""
        cluster = self.service.store.get("compute", "", name) or {"scale": {"maxNodeCount": 0}}
        waiting, taken = self.waiting.setdefault(name, deque()), self.taken.setdefault(name, {})
        free = int(cluster["scale"]["maxNodeCount"]) - sum(taken.values())
        while waiting and waiting[0].nodes <= free:
            part = waiting.popleft()
            taken[part.id] = part.nodes
            free -= part.nodes
            self.later(part, part.script.starting, self.begin)

    def begin(self, part: Part) -> None:
        records.set_status(self.service, part.id, "Running")
        self.go_on(part, self.clock.seconds, course(self.service, part.script))

    def go_on(self, part: Part, began: float, steps: Iterator[Step]) -> None:
        """Only one step is planned at a time: a script may have a million, and a thousand runs may have it."""
        after, do = next(steps, (part.script.running, None))

        def take(part: Part) -> None:
            if do is None:
                self.finalize(part)
            else:
                do(part)
                self.go_on(part, began, steps)

        self.at(part, began + after, take)

    def finalize(self, part: Part) -> None:
        records.set_status(self.service, part.id, "Finalizing")
        self.later(part, part.script.finalizing, self.end)

    def end(self, part: Part) -> None:
        failed = error_body("UserError", "the run's script says that it fails; exited with status code 1")
        self.leave(part.id, part.script.final, failed if part.script.final == "Failed" else None)

    def leave(self, run_id: str, status: str, error: dict[str, Any] | None = None) -> None:
        """The end of a run, whatever it was doing."""
        part = self.jobs.pop(run_id, None)
        if part is None:
            return
        records.set_status(self.service, run_id, status, error=error)
        self.give_back(part)
        self.clock.forget(2 * len(self.jobs) + STEPS_AT_ONCE)

    def give_back(self, part: Part) -> None:
        self.taken.setdefault(part.cluster, {}).pop(part.id, None)
        waiting = self.waiting.setdefault(part.cluster, deque())
        if part in waiting:
            waiting.remove(part)
        self.give(part.cluster)


def course(service: Service, script: Script) -> Iterator[Step]:
    """What a run says and logs, and when after its beginning."""
    lines = ((writing(service, line), at) for line, at in spread(script.lines, script.running))
    logged = spread(list(enumerate(script.metrics, 1)), script.running)
    numbers = ((logging(service, number, row), at) for (number, row), at in logged)
    return ((at, do) for do, at in heapq.merge(lines, numbers, key=lambda step: step[1]))


def spread(items: Sequence[Item], seconds: float) -> Iterator[tuple[Item, float]]:
    return ((item, seconds * number / (len(items) + 1)) for number, item in enumerate(items, 1))


def writing(service: Service, line: str) -> Callable[[Part], None]:
    def write(part: Part) -> None:
        path = service.store.run_folder(part.id) / "logs" / LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        artifacts.attach(service, f"dcid.{part.id}", LOG, path)

    return write


def logging(service: Service, number: int, row: Mapping[str, float]) -> Callable[[Part], None]:
    def log(part: Part) -> None:
        for name, value in row.items():
            point = {"metricId": f"{part.turn}.{number}", "createdUtc": now(), "data": {name: value}}
            about = {"columns": {name: "double"}, "properties": {"uxMetricType": "azureml.v1.scalar"}}
            metrics.write_one(service, part.id, {"name": name, **about, "value": [point]})

    return log


def script_from(value: Any) -> Script:
    """Raises ServiceError (400) for what is no script."""
    asked = only_known(value, FIELDS, "the script")
    seconds = {name: duration(asked[name], name) for name in PHASES if name in asked}
    final = asked.get("final", "Completed")
    if not isinstance(final, str) or final not in records.FINAL:
        raise bad_request(f"final is '{shortened(final)}'; one of {', '.join(sorted(records.FINAL))}")
    lines = tuple(str(line) for line in rows(asked.get("lines"), "lines"))
    logged = tuple(numbers(row) for row in rows(asked.get("metrics"), "metrics"))
    return Script(**seconds, final=final, lines=lines, metrics=logged)


def duration(value: Any, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_PHASE_SECONDS:
        return float(value)
    raise bad_request(f"{what} is '{shortened(value)}'; it must be a number of seconds")


def numbers(value: Any) -> dict[str, float]:
    row = section(value, "a row of metrics")
    if any(isinstance(item, bool) or not isinstance(item, int | float) for item in row.values()):
        raise bad_request("a row of metrics has a value that is no number")
    return {str(name): float(item) for name, item in row.items()}
