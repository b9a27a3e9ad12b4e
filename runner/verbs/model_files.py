"""The ONNX file that a command line means: a path, a run's, or one of a workspace's registry."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner import history
from runner.errors import RunnerError, TargetError
from runner.project import find_project
from runner.spec import Run
from runner.targets import load_target
from runner.verbs.registry import registry_of, workspace_of, wrong
from runner.verbs.remote import find_run

ONNX = "model.onnx"
EXPORT = "'export.onnx=true' makes a run write it"
REGISTERED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(:(?P<version>[1-9][0-9]*|latest))?")


@contextmanager
def model_file(name: str, overrides: list[str], named_project: Path | None) -> Iterator[Path]:
    """The file, there as long as the block runs. Raises RunnerError that says what `name` was looked for as.

    A word that could be both is a run first; NAME:VERSION and NAME:latest are always a registered model.
    """
    if Path(name).is_file():
        yield Path(name)
        return
    registered = REGISTERED.fullmatch(name)
    if (registered is None and "://" not in name) or name.endswith(".onnx"):
        raise TargetError(f"there is no file '{name}'; MODEL is a .onnx file, a run, or a registered NAME[:VERSION]")
    project = find_project(named_project, Path.cwd())
    with tempfile.TemporaryDirectory(prefix="amlrun-model-") as folder:
        if registered is not None and registered["version"]:
            yield downloaded(project, overrides, registered, Path(folder))
            return
        try:
            run = find_run(project, name)
        except TargetError as not_a_run:
            if registered is None:
                raise
            yield registered_after_all(project, overrides, registered, Path(folder), not_a_run)
            return
        yield of_run(project, run, Path(folder))


def of_run(project: Path, run: Run, folder: Path) -> Path:
    """outputs/model.onnx of a run, fetched if it is not in the history."""
    kept = history.files(project, run.id).outputs / ONNX
    if kept.is_file():
        return kept
    fetched = [path for path in load_target(run.target, project).fetch(run, folder) if path == folder / ONNX]
    if not fetched:
        raise TargetError(f"{run.id} has no outputs/{ONNX}; {EXPORT}")
    return fetched[0]


def registered_after_all(
    project: Path, overrides: list[str], name: re.Match[str], folder: Path, not_a_run: TargetError
) -> Path:
    try:
        return downloaded(project, overrides, name, folder)
    except RunnerError as error:
        what = str(not_a_run).partition(";")[0].partition(": ")[0]
        raise TargetError(f"{what}, nor a registered model: {error}") from error


def downloaded(project: Path, overrides: list[str], asked: re.Match[str], folder: Path) -> Path:
    version = asked["version"]
    number = int(version) if version and version != "latest" else None
    place = registry_of(project).download(workspace_of(project, overrides), asked["name"], number, folder)
    found = [place] if place.is_file() else sorted(place.rglob("*.onnx"))
    if len(found) != 1 or found[0].suffix != ".onnx":
        held = ", ".join(f"'{path.name}'" for path in found) or "no .onnx file"
        raise wrong(f"the registered model '{asked[0]}' holds {held}", f"one .onnx file is needed; {EXPORT}")
    return found[0]
