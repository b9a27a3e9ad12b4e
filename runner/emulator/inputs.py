"""What a run reads: paths of datastores and datasets, copied to each of its nodes before it starts.

A mount is a copy that cannot be written to: nothing is fetched as it is read, and what changes in the datastore while
the run goes on is not seen.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runner.emulator import datasets, datastores
from runner.emulator.checking import needed, only_known, section, shortened, text
from runner.emulator.messages import bad_request, not_found
from runner.emulator.service import Service

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFERENCE = "AZUREML_DATAREFERENCE_"
REFERENCE_FIELDS = ("dataStoreName", "pathOnDataStore", "mode", "overwrite", "pathOnCompute")
DATA_FIELDS = (
    "dataLocation",
    "createOutputDirectories",
    "mechanism",
    "environmentVariableName",
    "pathOnCompute",
    "overwrite",
    "options",
)
LOCATION_FIELDS = ("dataset", "dataPath", "uri")
# The SDK writes this among the arguments where a dataset is meant.
ARGUMENT = "DatasetConsumptionConfig:"
MODES = ("mount", "download")


@dataclass(frozen=True, slots=True)
class Input:
    """`variables` are those that hold its path on the node; `word` is what stands for it among the arguments."""

    name: str
    datastore: str
    path: str
    mode: str
    variables: tuple[str, ...]
    word: str


def checked(service: Service, configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs as the run keeps them. Raises ServiceError for what is not there, or what this emulator cannot do."""
    found = [*references(configuration), *data(service, configuration)]
    for item in found:
        if not NAME.fullmatch(item.name) or not all(NAME.fullmatch(name) for name in item.variables):
            raise bad_request(f"input name '{shortened(item.name)}' is invalid; letters, digits and '_'")
        if item.mode not in MODES:
            raise bad_request(
                f"input '{item.name}' has mode '{shortened(item.mode)}'; the emulator mounts and downloads"
            )
        datastores.require(service, item.datastore)
        if ".." in item.path.split("/") or "\0" in item.path:
            raise bad_request(f"path '{shortened(item.path)}' of input '{item.name}' is invalid; a path without '..'")
    names = [item.name for item in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise bad_request(f"input '{twice}' is both a data reference and a dataset")
    return [asdict(item) for item in found]


def kept(configuration: Mapping[str, Any]) -> list[Input]:
    return [Input(**{**item, "variables": tuple(item["variables"])}) for item in configuration.get("inputs", ())]


def references(configuration: Mapping[str, Any]) -> Iterator[Input]:
    for name, value in section(configuration.get("dataReferences"), "dataReferences").items():
        where = f"data reference '{shortened(name)}'"
        known = only_known(value, REFERENCE_FIELDS, where)
        nowhere(known.get("pathOnCompute"), where)
        path = (text(known.get("pathOnDataStore"), f"the path of {where}") or "").strip("/")
        store, mode = needed(known.get("dataStoreName"), f"the datastore of {where}"), str(known.get("mode")).lower()
        yield Input(name, store, path, mode, (REFERENCE + name,), f"${REFERENCE}{name}")


def data(service: Service, configuration: Mapping[str, Any]) -> Iterator[Input]:
    for name, value in section(configuration.get("data"), "data").items():
        where = f"input '{shortened(name)}'"
        known = only_known(value, DATA_FIELDS, where)
        nowhere(known.get("pathOnCompute"), where)
        location = only_known(section(known.get("dataLocation"), where), LOCATION_FIELDS, f"the location of {where}")
        if not location.get("dataset"):
            raise bad_request(f"{where} names no dataset, and the emulator reads nothing else")
        found = datasets.meant(service, section(location["dataset"], f"the dataset of {where}"))
        variable = text(known.get("environmentVariableName"), f"the variable of {where}") or name
        # The SDK's own names of variables (azureml/data/context_managers.py).
        variables = (variable, REFERENCE + variable, variable.upper())
        mode = str(known.get("mechanism")).lower()
        yield Input(name, found["datastore"], found["path"], mode, variables, ARGUMENT + name)


def nowhere(path: Any, where: str) -> None:
    if path:
        raise bad_request(f"{where} asks for a place of its own on the node, which the emulator does not give")


def folder(run_folder: Path, node: int) -> Path:
    """Where a node's inputs are: beside its working directory, so that nothing of them is taken for an output."""
    return run_folder / "data" / str(node)


def stage(service: Service, configuration: Mapping[str, Any], place: Path) -> None:
    """Raises ServiceError (404) where a datastore has nothing at a path."""
    remove(place)
    for item in kept(configuration):
        if not copy(service, item, place / item.name):
            raise not_found(f"datastore '{item.datastore}' has nothing at '{item.path}', which is input '{item.name}'")
        if item.mode == "mount":
            protect(place / item.name, 0o444, 0o555)


def copy(service: Service, item: Input, place: Path) -> int:
    """How many files came below `place`, with the names that they have below the path; a file is there by its own."""
    count = 0
    for name, source in datastores.files_below(service, item.datastore, item.path):
        target = place / (PurePosixPath(name).name if name == item.path else name[len(item.path) :].lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        count += 1
    return count


def worded(argv: list[str], configuration: Mapping[str, Any]) -> list[str]:
    """A command line in which what stands for a dataset is a variable, that each node has a value for."""
    for item in kept(configuration):
        whole = re.compile(rf"{re.escape(item.word)}(?!\w)")
        argv = [whole.sub(f"${{{item.variables[0]}}}", word) for word in argv]
    return argv


def variables(service: Service, configuration: Mapping[str, Any], place: Path) -> dict[str, str]:
    """Of one node. A variable of the run whose whole value stands for an input is its path, as an argument is."""
    items = kept(configuration)
    paths = {item.word: location(service, item, place) for item in items}
    asked = configuration.get("environmentVariables") or {}
    own = {name: paths[item.word] for item in items for name in item.variables}
    return {**own, **{name: paths[value] for name, value in asked.items() if value in paths}}


def location(service: Service, item: Input, place: Path) -> str:
    """What the run is told: the folder, or the one file that the path is."""
    root = place / item.name
    is_file = datastores.has_file(service, item.datastore, item.path)
    return str(root / PurePosixPath(item.path).name if is_file else root)


def remove(place: Path) -> None:
    """Also what cannot be written to."""
    if place.is_dir():
        protect(place, 0o644, 0o755)
        shutil.rmtree(place)


def protect(place: Path, file_mode: int, folder_mode: int) -> None:
    """Not what a link leads to: that is not ours."""
    place.chmod(0o755)
    for path in place.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            protect(path, file_mode, folder_mode)
        else:
            path.chmod(file_mode)
    place.chmod(folder_mode)
