"""What every answer needs: the state, who we are, where we are, and the engine that runs what was submitted."""

from __future__ import annotations

import sys
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runner.emulator.faults import Faults
from runner.emulator.identity import Identity
from runner.emulator.messages import ServiceError
from runner.emulator.store import Store

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TENANT = "00000000-0000-0000-0000-00000000000a"
NAME = "emulator"
KEPT_REQUESTS = 10_000
LOCATION = "eastus"
# The part before "@" is user information to HTTP, and makes the address look like one of Azure's blob hosts to the
# SDK, which rebuilds it from "<account>.blob.<suffix>" while the host stays this machine.
ACCOUNT = "emulator"
BLOB_USER = f"{ACCOUNT}.blob.emu"


class Engine(Protocol):
    """Runs what was submitted. Every method but `stop` returns at once."""

    def submit(self, run_id: str) -> None: ...

    def cancel(self, run_id: str) -> None: ...

    def nodes_in_use(self, compute: str) -> int: ...

    def looked_at(self, run_id: str) -> None:
        """A client has read the run's details."""

    def stop(self) -> None:
        """End every run and wait for it; new ones are taken afterwards."""


class Idle:
    """An engine that runs nothing: runs stay where they are."""

    def submit(self, run_id: str) -> None: ...

    def cancel(self, run_id: str) -> None: ...

    def nodes_in_use(self, compute: str) -> int:
        return 0

    def looked_at(self, run_id: str) -> None: ...

    def stop(self) -> None: ...


@dataclass(slots=True)
class Service:
    """`origin` is `https://127.0.0.1:PORT`; `python` is the interpreter that jobs run in."""

    store: Store
    identity: Identity
    origin: str
    python: str = sys.executable
    engine: Engine = field(default_factory=Idle)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))
    faults: Faults = field(default_factory=Faults)

    @property
    def host(self) -> str:
        return self.origin.partition("://")[2]

    @property
    def page(self) -> str:
        """The address of the page for people, and what the SDK takes for Azure's studio."""
        return f"{self.origin}/page/{self.identity.page_secret}"

    def workspace(self) -> dict[str, Any]:
        """The workspace's document. Its id is fresh for every store: clients cache by it."""
        with self.store.transaction():
            found = self.store.get("workspace", "", "own")
            if found is None:
                names = {"subscription": SUBSCRIPTION, "group": NAME, "name": NAME}
                found = {"id": str(uuid.uuid4()), "names": [names]}
                self.store.put("workspace", "", "own", found)
            return found

    def require_workspace(self, parameters: Mapping[str, str]) -> None:
        """Raises ServiceError (404) unless these are names of the workspace: its own, or adopted from a config.json."""
        asked = {name: parameters[name].lower() for name in ("subscription", "group", "workspace")}
        for names in self.workspace()["names"]:
            known = (names["subscription"], names["group"], names["name"])
            if tuple(asked.values()) == tuple(name.lower() for name in known):
                return
        raise ServiceError(
            404,
            "ResourceNotFound",
            f"workspace '{parameters['workspace']}' in resource group '{parameters['group']}' was not found; this "
            f"emulator serves '{NAME}' in '{NAME}' ('amlrun emulator env' lets it answer for another config.json)",
        )

    def scope(self, parameters: Mapping[str, str] | None = None) -> str:
        """The workspace's ARM id, in the names that the caller used."""
        own = self.workspace()["names"][0]
        names = parameters or {"subscription": own["subscription"], "group": own["group"], "workspace": own["name"]}
        return (
            f"/subscriptions/{names['subscription']}/resourceGroups/{names['group']}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{names['workspace']}"
        )

    def blob_address(self, path: str, permissions: str = "r") -> str:
        """An address that carries its own permission, as a SAS does. `path` is `/container/blob`."""
        return f"https://{BLOB_USER}@{self.host}{path}?{self.identity.address_query(path, permissions)}"
