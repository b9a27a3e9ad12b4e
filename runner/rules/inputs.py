"""Inputs: one place each, there when it is on this machine, and known where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, meant, show, warning
from runner.paths import is_there
from runner.rules.code import leaves
from runner.rules.read import on_azure, part

# They become variables of the process: azureml-core warns of these names (data/dataset_consumption_config.py).
SYSTEM_NAMES = ("path", "ld_library_path", "user", "logname", "home", "pwd", "shell")
PREFIX = "input:"


def complete(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    local = part(values, "compute").get("kind") == "local"
    for name, spec in part(values, "inputs").items():
        path = f"inputs.{name}"
        if not isinstance(spec, Mapping):
            continue
        if "dataset" in spec and ("path" in spec or "datastore" in spec):
            yield error(path, "a dataset has no path or datastore of its own", "keep dataset, or path with datastore")
        elif "datastore" in spec and "path" not in spec:
            yield error(path, "a datastore without path", "add path")
        elif not {"dataset", "path"} & set(spec):
            yield error(path, "no data", "give path, datastore with path, or dataset")
        elif local and ("dataset" in spec or "datastore" in spec):
            kind = "dataset" if "dataset" in spec else "datastore"
            yield error(f"{path}.{kind}", f"a {kind} is on Azure, and this run is here", "give a local path")
        if "version" in spec and "dataset" not in spec:
            yield error(f"{path}.version", "only a dataset has versions", "remove it")


def files(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    if on_azure(values):
        return
    for name, spec in part(values, "inputs").items():
        path = part(part(values, "inputs"), name).get("path")
        if path and "://" not in path and "datastore" not in spec and not is_there(path, project):
            yield error(f"inputs.{name}.path", f"nothing at {show(path)}", "it is relative to the project")


def names(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    for name in part(values, "inputs"):
        if name.lower() in SYSTEM_NAMES:
            yield warning(f"inputs.{name}", "the name is also a system variable's", "choose another")


def references(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    known = part(values, "inputs")
    groups = ("data", "model", "trainer")
    places = leaves(part(values, "code").get("arguments"), "code.arguments")
    places += leaves(part(values, "code").get("command"), "code.command")
    places += [found for group in groups for found in leaves(values.get(group), group)]
    for path, text in places:
        if text.startswith(PREFIX) and text[len(PREFIX) :] not in known:
            hint = meant(text[len(PREFIX) :], known) or f"add it under inputs; there are: {', '.join(known) or 'none'}"
            yield error(path, f"no input {show(text[len(PREFIX) :])}", hint)
