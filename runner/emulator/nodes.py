"""Nodes of clusters: a run gets all that it needs at once, in the order of submission; more wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Nodes:
    """Who has how many nodes of which cluster, and who waits."""

    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=dict)

    def enter(self, cluster: str, run_id: str) -> None:
        """Take a place in the queue."""
        with self.changed:
            self.waiting.setdefault(cluster, []).append(run_id)

    def take(self, cluster: str, run_id: str, count: int, most: Callable[[], int], stop: threading.Event) -> bool:
        """Wait for `count` nodes; False if `stop` came first. `most` is asked anew: a cluster may grow meanwhile."""
        with self.changed:
            while not stop.is_set():
                if self.waiting[cluster][0] == run_id and self.used(cluster) + count <= most():
                    self.waiting[cluster].remove(run_id)
                    self.taken.setdefault(cluster, {})[run_id] = count
                    self.changed.notify_all()
                    return True
                self.changed.wait(timeout=1.0)
            return False

    def leave(self, cluster: str, run_id: str) -> None:
        """Give nodes back, or the place in the queue."""
        with self.changed:
            self.taken.get(cluster, {}).pop(run_id, None)
            if run_id in self.waiting.get(cluster, []):
                self.waiting[cluster].remove(run_id)
            self.changed.notify_all()

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def used(self, cluster: str) -> int:
        with self.changed:
            return sum(self.taken.get(cluster, {}).values())

    def held(self, cluster: str, run_id: str) -> int:
        """How many nodes a run has."""
        with self.changed:
            return self.taken.get(cluster, {}).get(run_id, 0)

    def holder(self, cluster: str, number: int) -> tuple[str, int] | None:
        """The run that has the cluster's node of this number, and which of its own nodes it is."""
        with self.changed:
            for run_id, count in self.taken.get(cluster, {}).items():
                if number < count:
                    return run_id, number
                number -= count
        return None
