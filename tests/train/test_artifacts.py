"""Checkpoints among the run's artifacts: uploaded as they are written, fetched by a run that starts again."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from train.artifacts import Artifacts


@dataclass
class Run:
    """The artifacts of a run, as azureml-core's Run shows them. `broken` names the call that fails."""

    files: dict[str, bytes] = field(default_factory=dict)
    broken: str = ""
    asked: list[str] = field(default_factory=list)

    def get_file_names(self) -> list[str]:
        self.at("get_file_names")
        return list(self.files)

    def upload_file(self, name: str, path: str) -> None:
        self.at("upload_file")
        assert name not in self.files, "Azure refuses a name that is there"
        self.files[name] = Path(path).read_bytes()

    def download_file(self, name: str, path: str) -> None:
        self.at("download_file")
        Path(path).write_bytes(self.files[name])

    def at(self, call: str) -> None:
        self.asked.append(call)
        if call == self.broken:
            raise OSError(f"no {call}")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run()
    core = ModuleType("azureml.core")
    core.Run = SimpleNamespace(get_context=lambda allow_offline: made)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "azureml", ModuleType("azureml"))
    monkeypatch.setitem(sys.modules, "azureml.core", core)
    monkeypatch.setenv("AZUREML_RUN_ID", "r")
    return made


def written(folder: Path, step: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"step_{step:08d}.pt"
    path.write_bytes(b"weights of %d" % step)
    return path


def test_what_one_node_kept_the_next_one_fetches(tmp_path: Path, run: Run) -> None:
    said: list[str] = []
    first = Artifacts(said.append)
    for step in (9, 10, 100):
        first.keep(written(tmp_path / "lost", step))
    first.keep(tmp_path / "lost" / "step_00000100.pt")  # again, as after a resume: it is there already

    run.files |= {"outputs/model.pt": b"", "checkpoints/notes.txt": b""}
    Artifacts(said.append).fetch(tmp_path / "new")
    found = sorted((tmp_path / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in found] == ["step_00000010.pt", "step_00000100.pt"]
    assert found[1].read_bytes() == b"weights of 100"
    assert said == []


def test_what_the_node_has_is_not_fetched_again(tmp_path: Path, run: Run) -> None:
    run.files = {"checkpoints/step_00000001.pt": b"remote"}
    mine = written(tmp_path, 1)
    Artifacts(print).fetch(tmp_path)
    assert mine.read_bytes() == b"weights of 1"
    assert "download_file" not in run.asked


def test_one_file_is_fetched_by_its_name_if_it_is_there(tmp_path: Path, run: Run) -> None:
    run.files = {"checkpoints/best_00000006.pt": b"best", "outputs/best_00000009.pt": b"another's"}
    artifacts = Artifacts(print)
    for step in (6, 9):
        artifacts.fetch_one(tmp_path / "new" / f"best_{step:08d}.pt")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["best_00000006.pt"]


@pytest.mark.parametrize("broken", ["get_file_names", "upload_file"])
def test_a_failure_is_said_once_and_the_training_goes_on(broken: str, tmp_path: Path, run: Run) -> None:
    run.broken, said = broken, list[str]()
    artifacts = Artifacts(said.append)
    for step in (1, 2):
        artifacts.keep(written(tmp_path, step))
    assert said == [
        f"checkpoints: cannot upload a checkpoint, they stay on this node from here: OSError('no {broken}')"
    ]
    assert run.asked.count(broken) == 1


def test_half_a_download_is_no_checkpoint(tmp_path: Path, run: Run) -> None:
    run.files, run.broken, said = {"checkpoints/step_00000001.pt": b"x"}, "download_file", list[str]()
    Artifacts(said.append).fetch(tmp_path / "new")
    assert list((tmp_path / "new").glob("step_*")) == []
    assert said[0].startswith("checkpoints: cannot fetch the checkpoints")


def test_nothing_is_asked_where_the_run_is_not_on_azure(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZUREML_RUN_ID")
    artifacts = Artifacts(print)
    artifacts.keep(written(tmp_path, 1))
    artifacts.fetch(tmp_path / "new")
    assert run.asked == []


def test_without_the_sdk_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_RUN_ID", "r")
    monkeypatch.setitem(sys.modules, "azureml", None)
    said: list[str] = []
    Artifacts(said.append).fetch(tmp_path)
    assert said == ["checkpoints: azureml-core is not installed here, so they stay on this node: it may be preempted"]
