"""`inputs` on Azure: datastore paths are data references, registered datasets are datasets; the node gets their paths.

Sources: azureml-core 1.61, `data/data_reference.py` and `core/runconfig.py` (`DataReferenceConfiguration`, `Data`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runner.errors import Place, Problem
from runner.spec import Plan
from runner.targets.azureml_workspace import Service, quiet, service_errors

CONFIG = Place("configs/config.yaml", 1, 1)
PREFIX = "input:"
VARIABLE = "AMLRUN_INPUT_"


def words(plan: Plan) -> dict[str, str]:
    """What stands for each input where the service puts its path: a variable of the node, or the SDK's own mark."""
    return {name: word(name, value) for name, value in plan.inputs.items()}


def word(name: str, value: Mapping[str, Any]) -> str:
    return f"DatasetConsumptionConfig:{name}" if value.get("dataset") else f"$AZUREML_DATAREFERENCE_{name}"


def arguments(plan: Plan) -> list[str]:
    """The script's arguments. One that is `input:NAME` becomes the path of that input, on the node."""
    known = {PREFIX + name: text for name, text in words(plan).items()}
    return [known.get(item, item) for item in plan.arguments]


def line(plan: Plan) -> str | None:
    """The command line, for a shell on the node. Datastore paths are variables there, and need its expansion."""
    known = {PREFIX + name: f'"{text}"' for name, text in words(plan).items()}
    text = plan.shell or " ".join(known.get(item) or shlex.quote(item) for item in plan.command)
    told = "".join(f'export {name}="{value}"; ' for name, value in variables(plan).items())
    return told + text if text else None


def variables(plan: Plan) -> dict[str, str]:
    """The datastore paths' variables. A dataset's is made by the service, which is told its name."""
    return {VARIABLE + name: text for name, text in words(plan).items() if not plan.inputs[name].get("dataset")}


def check(plan: Plan) -> Iterator[Problem]:
    for name, value in plan.inputs.items():
        path = str(value.get("path") or "")
        if not value.get("dataset") and not value.get("datastore"):
            what = f"'{path}' is no path in a datastore, and does not travel to Azure"
            yield Problem(CONFIG, f"inputs.{name}", what, "upload it, and set 'datastore' with the path there")


def sources(service: Service, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where each input comes from, and whether the workspace has that. One request for each kind of source."""
    kinds = {name: next((kind for kind in LISTED if value.get(kind)), "") for name, value in inputs.items()}
    known = {kind: LISTED[kind](service) for kind in LISTED if kind in kinds.values()}
    rows = [(name, kind, str(inputs[name][kind]), inputs[name].get("version")) for name, kind in kinds.items() if kind]
    return [
        {
            "name": name,
            "kind": kind,
            "source": source,
            "version": None if version is None else str(version),
            "found": is_there(known[kind], source, version),
            "there": [
                f"'{other}'" + (f" (newest {newest})" if newest else "") for other, newest in known[kind].items()
            ],
        }
        for name, kind, source, version in rows
    ]


def datasets(service: Service) -> dict[str, int]:
    """The registered ones, and the newest version of each; versions are numbered from 1."""
    with service_errors("cannot list the datasets"), quiet():
        return {item.name: int(item.version or 0) for item in service.workspace.datasets.registrations}


def datastores(service: Service) -> dict[str, int]:
    with service_errors("cannot list the datastores"), quiet():
        return dict.fromkeys(service.workspace.datastores, 0)


LISTED: Mapping[str, Callable[[Service], dict[str, int]]] = {"dataset": datasets, "datastore": datastores}


def is_there(known: Mapping[str, int], source: str, version: Any) -> bool:
    if source not in known or version in (None, "latest"):
        return source in known
    return str(version).isdecimal() and 0 < int(version) <= known[source]


def add(run_config: Any, plan: Plan) -> None:
    """Tell the SDK's RunConfiguration what the run reads."""
    for name, value in plan.inputs.items():
        kind = "dataset" if value.get("dataset") else "datastore"
        ADDED[kind](run_config, name, value)


def add_reference(run_config: Any, name: str, value: Mapping[str, Any]) -> None:
    from azureml.core.runconfig import DataReferenceConfiguration

    path = str(value["path"]).strip("/")
    run_config.data_references[name] = DataReferenceConfiguration(
        datastore_name=value["datastore"],
        mode=value.get("mode") or "mount",
        path_on_datastore=None if path in ("", ".") else path,
    )


def add_dataset(run_config: Any, name: str, value: Mapping[str, Any]) -> None:
    """By name, as `DatasetConsumptionConfig` says it once it has asked: no package for datasets is needed here."""
    from azureml.core.runconfig import Data, DataLocation, Dataset

    dataset = Dataset(dataset_name=value["dataset"], dataset_version=str(value.get("version") or "latest"))
    run_config.data[name] = Data(
        data_location=DataLocation(dataset=dataset),
        create_output_directories=False,
        mechanism=value.get("mode") or "mount",
        environment_variable_name=VARIABLE + name,
    )


ADDED = {"datastore": add_reference, "dataset": add_dataset}
