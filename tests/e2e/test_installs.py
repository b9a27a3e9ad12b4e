"""The base install has neither torch nor azureml, and composes, validates and plans on every supported Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def interpreter(version: str) -> str | None:
    """A Python of that version: this one, one on PATH, or one of pyenv's."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    known = sorted(str(path) for path in pyenv.glob(f"{version}.*/bin/python"))
    return known[-1] if known else shutil.which(f"python{version}")


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_base_install_validates_and_plans(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")  # nothing of ours installs interpreters
    source = copy_of_the_tree(tmp_path / "source")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    bin_ = tmp_path / "venv" / "bin"
    install = [bin_ / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", ROOT / ".ci" / "constraints.txt", source], check=True)
    missing = subprocess.run([bin_ / "python", "-c", "import torch"], capture_output=True)
    assert missing.returncode != 0
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in (
        ["validate", "experiment=digits"],
        ["plan", "experiment=digits", "compute=gpu-cluster", "--json"],
        ["plan", "experiment=digits", "distribution=pytorch", "--json"],
    ):
        done = subprocess.run([bin_ / "amlrun", *command], cwd=source, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert command[0] == "validate" or json.loads(done.stdout)["plans"]


def test_the_wheel_holds_no_top_level_package_but_runner(tmp_path: Path) -> None:
    source = copy_of_the_tree(tmp_path / "source")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True)
    names = [line.split()[0] for line in listing.stdout.splitlines()[1:]]
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"runner"}
    for needed in ("schemas/job.schema.json", "configs/config.yaml", "train/__main__.py"):
        assert f"runner/packaged/{needed}" in names
    assert "runner/vm_sizes.csv" in names


def copy_of_the_tree(folder: Path) -> Path:
    """The files that git would take: what a clone has."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder
