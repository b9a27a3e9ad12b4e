"""The same script and the same bytes: from a folder here, and from a datastore of the workspace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.azureml.shell import ON_AZURE, Shell, needs_sdk
from tests.conftest import write

pytestmark = [pytest.mark.slow, needs_sdk]

FILES = {"a.txt": "one", "deep/b b.txt": "two é", "deep/er/c.bin": "\0\1"}
# Making a dataset with the SDK needs azureml-dataset-runtime, which reading one does not: here it is asked for by hand.
UPLOAD = """
import json, requests, sys
from azureml.core import Workspace
ws = Workspace.from_config()
store = ws.get_default_datastore()
flow = {"paths": [{"pattern": "azureml://datastores/workspaceblobstore/paths/raw/photos"}]}
latest = {"dataflow": json.dumps({"meta": {"RsDataflow": json.dumps(flow)}})}
address = ws.get_mlflow_tracking_uri().rstrip("?").replace("azureml:", "https:").replace("/mlflow/v2", "/dataset/v1")
answer = requests.post(
    f"{address}/datasets?updateDefinitionIfExists=true",
    json={"name": "photos", "datasetType": "file", "latest": latest},
    headers=ws._auth_object.get_authentication_header(),
)
assert answer.status_code == 200, answer.text
store.upload("photos", target_path="raw/photos", show_progress=False)
store.upload("photos", target_path="raw/photos-of-others", show_progress=False)
"""
READS = """
import hashlib, os, pathlib, sys
told = pathlib.Path(sys.argv[1])
assert str(told) == os.environ["AMLRUN_INPUT_photos"], (told, os.environ["AMLRUN_INPUT_photos"])
files = [told] if told.is_file() else sorted(path for path in told.rglob("*") if path.is_file())
lines = [f"{path.relative_to(told)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
pathlib.Path("outputs/read.txt").write_text("\\n".join(lines))
"""


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A project with a folder that has been uploaded to the emulator's own datastore."""
    write(shell.folder, {"main.py": READS, "upload.py": UPLOAD, **{f"photos/{name}": FILES[name] for name in FILES}})
    point = f'eval "$({sys.executable} -m runner emulator env --dir {shell.emulator} -q)"'
    command = ["bash", "-c", f"{point} && {sys.executable} upload.py"]
    done = subprocess.run(command, cwd=shell.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return shell


def read(shell: Shell, *argv: str) -> str:
    on_azure = set(ON_AZURE) <= set(argv)
    done = shell("run", "code.script=main.py", "code.arguments=['input:photos']", *argv, "--json", workspace=on_azure)
    assert done.code == 0, done.err + done.out
    record: dict[str, Any] = json.loads(done.out)
    return (shell.folder / ".runs" / record["id"] / "outputs" / "read.txt").read_text()


@pytest.mark.parametrize("mode", ["mount", "download"])
@pytest.mark.parametrize("path", ["photos", "photos/a.txt"])
def test_the_same_bytes_here_and_from_a_datastore(path: str, mode: str, filled: Shell) -> None:
    here = read(filled, "compute=local", f"+inputs.photos.path={path}")
    there = f"+inputs.photos={{datastore: workspaceblobstore, path: raw/{path}, mode: {mode}}}"

    assert here.count("\n") == (0 if path.endswith(".txt") else len(FILES) - 1)
    assert read(filled, *ON_AZURE, there) == here
    assert not list(Path(filled.emulator, "runs").glob("*/data/*"))


@pytest.mark.parametrize("version", ["", ", version: 1"])
def test_the_same_bytes_here_and_of_a_registered_dataset(version: str, filled: Shell) -> None:
    here = read(filled, "compute=local", "+inputs.photos.path=photos")
    assert read(filled, *ON_AZURE, f"+inputs.photos={{dataset: photos{version}}}") == here


def test_every_node_has_its_own(filled: Shell) -> None:
    script = "import sys, os; print(sys.argv[1] == os.environ['AMLRUN_INPUT_photos'], sys.argv[1])"
    write(filled.folder, {"main.py": script})
    there = "+inputs.photos={datastore: workspaceblobstore, path: raw/photos}"
    nodes = ("distribution=pytorch", "distribution.nodes=2", "distribution.processes_per_node=1")
    done = filled.run(script, there, *nodes, "code.arguments=['input:photos']")
    assert done.code == 0, done.err

    said = [Path(path).read_text().split() for path in json.loads(done.out)["logs"]]
    assert [words[0] for words in said] == ["True", "True"]
    assert said[0][1] != said[1][1]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("{datastore: nowhere, path: raw}", "no datastore 'nowhere' in workspace 'emulator'; there are: datastores"),
        ("{dataset: nothing}", "no dataset 'nothing' in workspace 'emulator'; there are: datasets 'photos' (newest"),
        ("{datastore: workspaceblobstore, path: missing}", "datastore 'workspaceblobstore' has nothing at 'missing'"),
        ("{path: photos}", "'photos' is no path in a datastore, and does not travel to Azure"),
    ],
)
def test_what_is_not_there(there: str, words: str, filled: Shell) -> None:
    done = filled("run", "code.script=main.py", *ON_AZURE, f"+inputs.photos={there}", "--json")
    assert done.code != 0
    assert words in done.err + done.out


@pytest.mark.parametrize(
    ("there", "code", "words"),
    [
        ("{dataset: photos}", 0, "there: dataset 'photos'"),
        ("{dataset: photos, version: 999}", 4, "no dataset 'photos' version 999 in workspace 'emulator'"),
        ("{datastore: nowhere, path: raw}", 4, "no datastore 'nowhere' in workspace 'emulator'"),
    ],
)
def test_a_plan_asks_whether_they_are_there(there: str, code: int, words: str, filled: Shell) -> None:
    done = filled("plan", "code.script=main.py", *ON_AZURE, f"+inputs.photos={there}", "--online")
    assert (done.code, words in done.out + done.err) == (code, True), done.out + done.err
