"""What every test may use: a project of its own, and the command line in process."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main

ROOT = Path(__file__).resolve().parents[1]
STARTER = ("configs", "train")
FIXED_GIT = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.invalid",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What imports and collecting left stays to the end: it need not be looked through at each collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    if "hydra" in sys.modules:
        read_once()


@pytest.fixture(scope="session", autouse=True)
def compositions(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is composed is kept for other tests that compose the same files, not among what the user has."""
    folder = tmp_path_factory.getbasetemp()
    workers = os.environ.get("PYTEST_XDIST_WORKER")
    os.environ["AMLRUN_CACHE"] = str((folder.parent if workers else folder) / "compositions")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Whatever a test does to the environment and the current folder ends with it."""
    before, folder = variables(), Path.cwd()
    yield
    if (after := variables()) != before:
        for name in after.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
    os.chdir(folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the starter project, not in git."""
    folder = tmp_path / "project"
    for path, content in starter().items():
        if content is None:
            (folder / path).mkdir(parents=True)
        else:
            (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A project that runs its own script: nothing but a defaults list; groups come packaged with amlrun."""
    folder = tmp_path / "bare"
    write(folder, {"configs/config.yaml": (ROOT / "configs/config.yaml").read_text()})
    return folder


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli(folder, "run", "a=1")` runs a command line in `folder`, in this process."""

    def run(folder: Path, *argv: str) -> Outcome:
        monkeypatch.chdir(folder)
        capfd.readouterr()
        try:
            code = main(list(argv))
        except SystemExit as stop:  # argparse: --help, --version, wrong usage
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_once() -> None:
    """Hundreds of tests compose copies of the same files: OmegaConf makes the same of the same text, so let it once.

    And Hydra reads its own version anew, tens of thousands of times.
    """
    from hydra import version
    from omegaconf import OmegaConf

    known: dict[str, bytes] = {}
    load = OmegaConf.load

    def kept(source: Any) -> Any:
        if not hasattr(source, "read"):
            return load(source)
        text = source.read()
        if text not in known:
            source.seek(0)
            known[text] = pickle.dumps(load(source))
        return pickle.loads(known[text])

    OmegaConf.load = kept  # type: ignore[method-assign]
    version._get_version = functools.cache(version._get_version)


def variables() -> dict[str, str]:
    """Of the environment; without where pytest stands, which is another before and after each test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@functools.cache
def starter() -> dict[str, bytes | None]:
    """The starter project, read once: its folders (None) and files, each after the folder that it is in."""
    found: dict[str, bytes | None] = {}
    for name in STARTER:
        for here, below, files in os.walk(ROOT / name):
            below[:] = [folder for folder in below if folder not in ("__pycache__", "outputs")]
            place = Path(here)
            found[str(place.relative_to(ROOT))] = None
            found |= {str(place.relative_to(ROOT) / file): (place / file).read_bytes() for file in files}
    return found


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write text files below `folder`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def commit(folder: Path) -> str:
    """Put everything of `folder` into a git repository; returns the commit, the same for the same content."""
    environment = {**os.environ, **FIXED_GIT}
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, env=environment)
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()
