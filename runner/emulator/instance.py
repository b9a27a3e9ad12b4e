"""One emulator in one folder: start it, find it, ask it, stop it, and how programs are pointed at it."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.processes import birth, free_port

READY_SECONDS = 30.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.05
# Set by `amlrun emulator env` for the commands of one shell.
FOLDER_VARIABLE = "AMLRUN_EMULATOR_DIR"


class EmulatorError(Exception):
    """Something about the emulator itself: not installed, not running, cannot start."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve. `port` 0: the one used before in this folder, else a free one. `idle_minutes` 0: never stop.

    `execution` is a row of `engines`.
    """

    folder: Path
    port: int = 0
    python: str = sys.executable
    idle_minutes: float = 0
    execution: str = "real"


@dataclass(frozen=True, slots=True)
class Running:
    """What a serving emulator writes to `emulator.json`; `birth` tells its process from a later one of that number."""

    origin: str
    pid: int
    birth: str
    python: str

    @property
    def alive(self) -> bool:
        return birth(self.pid) == self.birth


def running(folder: Path) -> Running | None:
    """The emulator that serves this folder now."""
    found = last(folder)
    return found if found is not None and found.alive else None


def last(folder: Path) -> Running | None:
    """The emulator that serves, or served last."""
    try:
        return Running(**json.loads((folder / "emulator.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def start(settings: Settings) -> tuple[Running, bool]:
    """Serve in the background; returns at once when one serves already (False). Raises EmulatorError."""
    require_cryptography()
    if (found := running(settings.folder)) is not None:
        return found, False
    settings.folder.mkdir(parents=True, exist_ok=True)
    settings.folder.chmod(0o700)
    argv = [sys.executable, "-m", "runner.emulator", str(settings.folder), "--python", settings.python]
    argv += ["--port", str(settings.port), "--idle-minutes", str(settings.idle_minutes)]
    argv += ["--execution", settings.execution]
    log = settings.folder / "emulator.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # A thread per connection, each with heaps of its own, would keep what its largest answer took.
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        )
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        if (found := running(settings.folder)) is not None:
            process.returncode = 0  # it outlives us on purpose: no warning that nobody waited for it
            return found, found.pid == process.pid
        if process.poll() is not None:
            break
        time.sleep(POLL_SECONDS)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
    raise EmulatorError(f"the emulator did not start: {lines[-1]}; see '{log}'")


def require_cryptography() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise EmulatorError("the emulator needs 'cryptography' for HTTPS; pip install 'amlrun[emulator]'")


def serve(settings: Settings) -> None:
    """Serve in this process until SIGTERM, SIGINT or idleness. Raises EmulatorError if the folder or port is taken."""
    require_cryptography()
    from runner.emulator import server
    from runner.emulator.identity import certificates, load_identity
    from runner.emulator.service import Service
    from runner.emulator.store import Store, StoreError

    with lock(settings.folder):
        try:
            store = Store(settings.folder)
        except StoreError as error:
            raise EmulatorError(str(error)) from None
        identity = load_identity(settings.folder)
        known = last(settings.folder)
        listening = listen(settings.port, known, certificates(settings.folder))
        origin = f"https://{server.LOOPBACK}:{listening.server_address[1]}"
        service = Service(store, identity, origin, settings.python)
        engine = engines()[settings.execution](service)
        service.engine = engine
        listening.service = service
        prepare_clients(settings.folder, service)
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        server.serve(listening)
        engine.resume()
        write_running(settings, origin)
        wait(ended, listening, engine, settings.idle_minutes * 60)
        listening.shutdown()
        engine.stop()
        store.close()


def engines() -> Mapping[str, Callable[[Any], Any]]:
    """By the name of the execution: processes, or scripts on a virtual clock."""
    from runner.emulator.execution import LocalEngine
    from runner.emulator.scripted import ScriptedEngine

    return {"real": LocalEngine, "scripted": ScriptedEngine}


def listen(port: int, known: Running | None, certificate: Path) -> Any:
    """A listening server: on `port`, else on the port used before, else on any free one."""
    from runner.emulator.server import Server

    before = int(known.origin.rpartition(":")[2]) if known else 0
    for candidate in [port] if port else [number for number in (before, free_port()) if number]:
        try:
            return Server(candidate, certificate)
        except OSError as error:
            problem = f"cannot listen on 127.0.0.1:{candidate}: {error.strerror}; name another with --port"
    raise EmulatorError(problem)


def wait(ended: threading.Event, listening: Any, engine: Any, idle_seconds: float) -> None:
    """Until told to end, or until nothing was asked and nothing ran for `idle_seconds` (0: for ever)."""
    while not ended.wait(min(5.0, idle_seconds or 5.0)):
        if engine.jobs:
            listening.last_request = time.monotonic()
        if idle_seconds and time.monotonic() - listening.last_request > idle_seconds:
            return


def write_running(settings: Settings, origin: str) -> None:
    me = Running(origin, os.getpid(), birth(os.getpid()) or "", settings.python)
    temporary = settings.folder / "emulator.json.new"
    temporary.write_text(json.dumps(asdict(me)))
    temporary.replace(settings.folder / "emulator.json")


def prepare_clients(folder: Path, service: Any) -> None:
    """config.json, and an empty cache folder: the SDK keeps the list of clouds for ever, also of an earlier port."""
    own = service.workspace()["names"][0]
    write_config(folder / "config.json", own)
    cache = folder / "azure" / "cloudEndpoints.json"
    cache.parent.mkdir(exist_ok=True)
    cache.unlink(missing_ok=True)


def write_config(path: Path, names: dict[str, str]) -> None:
    content = {
        "subscription_id": names["subscription"],
        "resource_group": names["group"],
        "workspace_name": names["name"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Two emulators on one store would undo each other's work."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EmulatorError(f"another emulator serves '{folder}'; stop it first") from None
        yield


def stop(folder: Path) -> bool:
    """End the emulator of this folder and every run on it; False if none runs. Raises EmulatorError if it stays."""
    found = running(folder)
    if found is None:
        return False
    os.kill(found.pid, signal.SIGTERM)
    give_up = time.monotonic() + STOP_SECONDS
    while found.alive:
        if time.monotonic() > give_up:
            raise EmulatorError(f"the emulator (process {found.pid}) does not end; see '{folder / 'emulator.log'}'")
        time.sleep(POLL_SECONDS)
    return True


def ask(folder: Path, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The control plane of a running emulator. Raises EmulatorError."""
    from runner.emulator.identity import load_identity

    found = require_running(folder)
    address = f"{found.origin}/_emulator/{load_identity(folder).control_secret}/{what}"
    data = None if body is None else json.dumps(body).encode()
    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(urllib.request.Request(address, data), timeout=60) as answer:  # noqa: S310 - our own address
            answered: dict[str, Any] = json.loads(answer.read())
            return answered
    except urllib.error.HTTPError as error:
        with error:
            raise EmulatorError(refusal(error.read()) or f"the emulator answers {error}") from None
    except (urllib.error.URLError, OSError) as error:
        raise EmulatorError(f"the emulator at {found.origin} does not answer: {error}") from None


def refusal(content: bytes) -> str:
    """The sentence of an answer in Azure's shape."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(content)["error"]["message"])
    return ""


def require_running(folder: Path) -> Running:
    found = running(folder)
    if found is None:
        raise EmulatorError(f"no emulator serves '{folder}'; 'amlrun emulator start --dir {folder}' starts one")
    return found


def folder_or(otherwise: Path) -> Path:
    """The state of the emulator that `amlrun emulator env` named to this shell, else of the usual one."""
    return Path(os.environ.get(FOLDER_VARIABLE) or otherwise)


def variables(folder: Path) -> dict[str, str]:
    """What the SDK must find in its environment before it is imported."""
    from runner.emulator.identity import load_identity

    origin = require_running(folder).origin
    return {
        "ARM_CLOUD_METADATA_URL": f"{origin}/metadata/endpoints",
        "AZUREML_CURRENT_CLOUD": "EmulatorCloud",
        "MSI_ENDPOINT": f"{origin}/msi/{load_identity(folder).path_secret}/token",
        # `requests` reads the first, Python's own urllib (the list of clouds) the second.
        "REQUESTS_CA_BUNDLE": str(folder / "bundle.pem"),
        "SSL_CERT_FILE": str(folder / "bundle.pem"),
        "AZURE_CONFIG_DIR": str(folder / "azure"),
    }


def workspace_for(folder: Path, cwd: Path) -> tuple[Path, bool]:
    """The config.json that `Workspace.from_config()` finds from `cwd`; True if it was written now.

    Without any, `.azureml/config.json` is written. One that names another workspace stays as it is: the emulator
    answers to those names too.
    """
    found = find_config(cwd)
    if found is None:
        path = cwd / ".azureml" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text((folder / "config.json").read_text())
        return path, True
    try:
        config = json.loads(found.read_text())
    except ValueError as error:
        raise EmulatorError(f"'{found}' is no JSON: {error}; mend it, or remove it and one is written") from None
    if not isinstance(config, dict):
        raise EmulatorError(f"'{found}' is no object; Workspace.from_config() reads three names from it")
    keys = {"subscription": "subscription_id", "group": "resource_group", "name": "workspace_name"}
    if all(config.get(key) for key in keys.values()):
        ask(folder, "adopt", {name: config[key] for name, key in keys.items()})
    return found, False


def find_config(cwd: Path) -> Path | None:
    """In the SDK's order: upward for .azureml/, then for aml_config/, then for the file itself."""
    for between in (".azureml", "aml_config", ""):
        for folder in (cwd, *cwd.parents):
            path = folder / between / "config.json"
            if path.is_file():
                return path
    return None
