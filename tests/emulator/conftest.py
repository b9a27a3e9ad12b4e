"""An emulator in process, without HTTP; one that serves; and an interpreter that has the SDK."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import store as storing
from runner.emulator.identity import Identity, certificates, load_identity
from runner.emulator.messages import Request, Response
from runner.emulator.routes import dispatch
from runner.emulator.service import Service
from runner.emulator.store import Store

WS = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/emulator"
    "/providers/Microsoft.MachineLearningServices/workspaces/emulator"
)
HISTORY = f"/history/v1.0{WS}"
# An interpreter with azureml-core, where it is not the one that runs the tests.
SDK_VARIABLE = "AMLRUN_TEST_AZUREML_PYTHON"


@dataclass
class Recorder:
    """An engine that only notes what it was told."""

    submitted: list[str] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)

    def submit(self, run_id: str) -> None:
        self.submitted.append(run_id)

    def cancel(self, run_id: str) -> None:
        self.canceled.append(run_id)

    def nodes_in_use(self, compute: str) -> int:
        return self.busy.get(compute, 0)

    def looked_at(self, run_id: str) -> None: ...

    def preempt(self, run_id: str, nodes: frozenset[int], grace: float) -> bool:
        return True

    def holder(self, compute: str, number: int) -> tuple[str, int] | None:
        return None

    def stop(self) -> None: ...


@dataclass(repr=False)  # its requests would be told with every failure
class Client:
    """Asks routes as the SDK does, with a token, and fails a test on any status that it does not expect."""

    service: Service
    engine: Recorder

    def ask(self, method: str, path: str, body: Any = None, expect: int = 200, **query: str) -> Any:
        response = self.raw(method, path, b"" if body is None else json.dumps(body).encode(), query)
        content = response.content()
        assert response.status == expect, content
        return json.loads(content) if isinstance(content, bytes) and content else None

    def refused(self, method: str, path: str, body: Any = None, expect: int = 400, **query: str) -> str:
        """The message of a refusal in Azure's shape."""
        answer = self.ask(method, path, body, expect, **query)
        assert answer["error"]["details"] == []
        return str(answer["error"]["message"])

    def raw(
        self, method: str, path: str, body: bytes = b"", query: dict[str, str] | None = None, **more: str
    ) -> Response:
        token = self.service.identity.token({"tid": "t"})
        headers = {
            "authorization": f"Bearer {token}",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        return dispatch(self.service, Request(method, path, query or {}, headers, body))

    def signed(
        self, method: str, uri: str, body: bytes = b"", query: dict[str, str] | None = None, **more: str
    ) -> Response:
        """Use an address that carries its own permission."""
        from urllib.parse import parse_qsl, urlsplit

        parts = urlsplit(uri)
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        both = {**dict(parse_qsl(parts.query)), **(query or {})}
        return dispatch(self.service, Request(method, parts.path, both, headers, body))

    def cluster(self, name: str = "gpu", nodes: int = 4, **more: Any) -> Any:
        scale = {"minNodeCount": 0, "maxNodeCount": nodes, "nodeIdleTimeBeforeScaleDown": "PT120S"}
        details = {"vmSize": "Standard_DS3_v2", "vmPriority": "dedicated", "scaleSettings": scale, **more}
        body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": details}}
        return self.ask("PUT", f"{WS}/computes/{name}", body, 201)

    def snapshot(self, files: dict[str, bytes], identifier: str = "s1", parent: str | None = None) -> None:
        """The SDK's protocol: ask for addresses, put the bytes, post the tree."""
        sent = self.ask("POST", f"/content/v2.0{WS}/snapshots/getblob", {"FileNames": list(files)})["fileNodes"]
        nodes = []
        for node in sent:
            content = files[node["fullName"]]
            assert self.signed("PUT", node["blobUri"], content, x_ms_blob_type="BlockBlob").status == 201
            size = len(content)
            nodes.append({"FullName": node["fullName"], "BlobUri": node["blobUri"], "FileSize": size})
        body = {"ParentSnapshotId": parent, "DirTreeNode": tree(list(files)), "FileRevisionList": {"FileNodes": nodes}}
        self.ask("POST", f"/content/v2.0{WS}/snapshots/{identifier}", body)

    def submit(self, run_id: str, configuration: dict[str, Any], expect: int = 200, snapshot: str = "s1") -> Any:
        body = {"TargetDetails": None, "Configuration": configuration, "SnapshotId": snapshot}
        return self.ask("POST", f"/execution/v1.0{WS}/experiments/exp/snapshotrun", body, expect, runId=run_id)

    def run(self, run_id: str) -> Any:
        return self.ask("GET", f"{HISTORY}/runs/{run_id}")


def tree(paths: list[str]) -> dict[str, Any]:
    root: dict[str, Any] = {"name": "", "type": "Directory", "children": {}}
    for path in paths:
        node = root
        *folders, name = path.split("/")
        for folder in folders:
            node = node["children"].setdefault(folder, {"name": folder, "type": "Directory", "children": {}})
        node["children"][name] = {"name": name, "type": "File", "children": {}}
    return root


def configuration(**more: Any) -> dict[str, Any]:
    """What ScriptRunConfig sends, as far as the service looks at it."""
    base: dict[str, Any] = {
        "script": "train.py",
        "arguments": [],
        "target": "gpu",
        "framework": "Python",
        "communicator": "None",
        "maxRunDurationSeconds": 2592000,
        "nodeCount": 1,
        "environment": {"name": "env", "version": None, "python": {}, "docker": {"baseImage": "image"}},
        "history": {"outputCollection": True, "directoriesToWatch": ["logs"]},
        "command": "",
        "environmentVariables": {},
        "data": {},
    }
    return {**base, **more}


def made(store: Store, engine: Recorder | None = None) -> Service:
    engine = engine or Recorder()
    return Service(store, Identity(b"k" * 32, store.folder), "https://127.0.0.1:1", sys.executable, engine)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> None:
    """No test cuts the power, and hundreds make a state."""
    storing.SYNCHRONOUS = "OFF"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    store = Store(tmp_path / "emulator")
    yield made(store)
    store.close()


@pytest.fixture
def client(service: Service) -> Client:
    assert isinstance(service.engine, Recorder)
    return Client(service, service.engine)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One for a whole module whose tests do not mind what the others leave."""
    store = Store(tmp_path_factory.mktemp("shared") / "emulator")
    service = made(store)
    assert isinstance(service.engine, Recorder)
    yield Client(service, service.engine)
    store.close()


@dataclass
class Served:
    """One that answers over HTTPS, and who trusts it."""

    service: Service
    port: int
    trust: ssl.SSLContext

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.trust, timeout=10)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = self.connect()
        token = self.service.identity.token({"tid": "t"})
        sent = {
            "Authorization": f"Bearer {token}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        chunked = not isinstance(body, bytes | None)
        connection.request(method, path, body, sent, encode_chunked=chunked)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("cryptography", reason="the emulator's extra is not installed")
    from runner.emulator import server

    folder = tmp_path_factory.mktemp("served")
    store = Store(folder)
    listening = server.Server(0, certificates(folder))
    port = listening.server_address[1]
    service = Service(store, load_identity(folder), f"https://127.0.0.1:{port}", sys.executable)
    listening.service = service
    thread = server.serve(listening)
    yield Served(service, port, ssl.create_default_context(cafile=str(folder / "ca.pem")))
    listening.shutdown()
    thread.join()
    listening.server_close()
    store.close()


@pytest.fixture(scope="session")
def sdk_python() -> str:
    """An interpreter that has azureml-core, and cryptography with it."""
    named = os.environ.get(SDK_VARIABLE)
    if named:
        return named
    if importlib.util.find_spec("azureml") is None:
        # `make test-slow` runs these in an environment that has it.
        pytest.skip(f"azureml-core is not installed here; install amlrun[azure], or name a Python with {SDK_VARIABLE}")
    return sys.executable


@dataclass(frozen=True)
class Serving:
    """An emulator that serves, and how to run programs against it."""

    folder: Path
    python: str

    def amlrun(self, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [self.python, "-m", "runner", "emulator", *argv, "--dir", str(self.folder)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)

    def shell(self, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """`line` in a shell that `amlrun emulator env` has pointed here."""
        point = f'eval "$({self.python} -m runner emulator env --dir {self.folder} -q)"'
        return subprocess.run(
            ["bash", "-c", f"{point} && {line}"], cwd=cwd, capture_output=True, text=True, timeout=400, check=False
        )


@pytest.fixture(scope="session")
def serving(sdk_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One for all tests of a session that ask for it."""
    folder = tmp_path_factory.mktemp("emulator")
    found = Serving(folder, sdk_python)
    started = found.amlrun("start", cwd=folder)
    assert started.returncode == 0, started.stderr
    yield found
    stopped = found.amlrun("stop", cwd=folder)
    assert stopped.returncode == 0, stopped.stderr
    assert (folder / "emulator.log").read_text() == ""
    shutil.rmtree(folder)
