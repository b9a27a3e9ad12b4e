"""Submission: checks a run configuration as the service does, makes the run, and hands it to the engine."""

from __future__ import annotations

import time
import uuid
from typing import Any

from runner.emulator import environments, inputs, packages, records, snapshots
from runner.emulator.checking import only_known, rows, section, shortened, text, text_pairs, whole_number
from runner.emulator.faults import repeated
from runner.emulator.layouts import layout
from runner.emulator.messages import Request, Route, ServiceError, bad_request
from runner.emulator.service import Service

BODY_FIELDS = ("TargetDetails", "Configuration", "TelemetryValues", "SnapshotId", "ParentRunId", "RunType", "Tags")
FIELDS = (
    "script",
    "arguments",
    "target",
    "framework",
    "communicator",
    "maxRunDurationSeconds",
    "nodeCount",
    "priority",
    "environment",
    "history",
    "spark",
    "docker",
    "hdi",
    "tensorflow",
    "mpi",
    "pytorch",
    "paralleltask",
    "dataReferences",
    "data",
    "datacaches",
    "outputData",
    "sourceDirectoryDataStore",
    "amlcompute",
    "autoClusterComputeSpecification",
    "kubernetescompute",
    "credentialPassthrough",
    "command",
    "environmentVariables",
    "applicationEndpoints",
    "autoPrepareEnvironment",
)
# What this emulator cannot do must not be dropped in silence.
NOT_YET = ("datacaches", "outputData", "applicationEndpoints", "sourceDirectoryDataStore")
MAX_SECONDS = 30 * 24 * 3600


def submit(service: Service, request: Request) -> dict[str, str]:
    """Idempotent by run id: the same id again is the same run, and starts nothing."""
    body = only_known(request.object(), BODY_FIELDS, "the body")
    name = request.parameters["experiment"]
    run_id = request.query.get("runId") or f"{name}_{int(time.time())}_{uuid.uuid4().hex[:8]}"
    with service.store.transaction():
        if (known := records.run(service, run_id)) is not None:
            if repeated(service.faults, run_id):
                tags = {**known["tags"], **text_pairs(body.get("Tags"), "Tags")}
                records.change_run(service, run_id, tags=tags)
            return {"runId": run_id}
        configuration = checked(service, only_known(body.get("Configuration") or {}, FIELDS, "Configuration"))
        snapshot = text(body.get("SnapshotId"), "SnapshotId")
        if snapshot is not None and not snapshots.has(service, snapshot):
            raise bad_request(f"snapshot '{snapshot}' does not exist")
        properties = {"_azureml.ComputeTargetType": "amlctrain", "ContentSnapshotId": snapshot or ""}
        git = snapshots.require(service, snapshot)["properties"] if snapshot else {}
        records.create_run(
            service,
            run_id,
            name,
            {
                "runType": records.SCRIPT_RUN,
                "parentRunId": text(body.get("ParentRunId"), "ParentRunId"),
                "target": configuration["target"],
                "scriptName": configuration.get("script"),
                "runDefinition": configuration,
                "snapshotId": snapshot,
                "properties": {**text_pairs(git, "Properties"), **properties},
                "tags": text_pairs(body.get("Tags"), "Tags"),
            },
        )
    service.engine.submit(run_id)
    return {"runId": run_id}


def checked(service: Service, configuration: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what the service fills in. Raises ServiceError (400)."""
    target = str(configuration.get("target") or "")
    cluster = service.store.get("compute", "", target.lower())
    if cluster is None:
        raise bad_request(f"compute target '{target}' does not exist in this workspace", "ComputeNotFound")
    for field in NOT_YET:
        if configuration.get(field):
            raise bad_request(f"'{field}' is not supported by the emulator yet")
    asked, most = layout(configuration), cluster["scale"]["maxNodeCount"]
    if asked.nodes > most:
        raise bad_request(f"the run needs {asked.nodes} nodes, and compute '{target}' has at most {most}")
    check_program(configuration)
    seconds = configuration.get("maxRunDurationSeconds")
    if seconds is not None and whole_number(seconds, "maxRunDurationSeconds") > MAX_SECONDS:
        raise bad_request(f"maxRunDurationSeconds {seconds} is more than {MAX_SECONDS}")
    variables = checked_variables(configuration.get("environmentVariables"), "environmentVariables")
    environment = resolved(service, section(configuration.get("environment"), "environment"))
    checked_variables(environment["environmentVariables"], "environment.environmentVariables")
    list(packages.pinned(environment))  # refuses what cannot be read, before there is a run
    filled = {"target": cluster["name"], "environment": environment, "environmentVariables": variables}
    reads = inputs.checked(service, configuration)
    return {**configuration, **filled, "layout": asked.as_json(), "inputs": reads}


def checked_variables(value: Any, what: str) -> dict[str, str]:
    """What a process can be started with. Raises ServiceError (400)."""
    variables = text_pairs(value, what)
    for name, content in variables.items():
        if not name or "=" in name or "\0" in name + content:
            raise bad_request(f"{what} has '{shortened(name)}', which no process can have")
    return variables


def check_program(configuration: dict[str, Any]) -> None:
    script, command = configuration.get("script"), configuration.get("command")
    if bool(script) == bool(command) or not isinstance(script or command, str):
        raise bad_request("a run has a script or a command, exactly one of them")
    if "\0" in str(script or command):
        raise bad_request("the script or command has a NUL in it, and no process can be started so")
    for argument in rows(configuration.get("arguments"), "arguments"):
        if isinstance(argument, bool) or not isinstance(argument, str | int | float):
            raise bad_request(f"argument '{argument}' is neither text nor a number")
        if "\0" in str(argument):
            raise bad_request(f"argument '{argument}' has a NUL in it, and no process can be started so")


def resolved(service: Service, environment: dict[str, Any]) -> dict[str, Any]:
    """The environment as registered. One without a version is registered, as Azure does with what it has never seen."""
    name, version = environment.get("name"), environment.get("version")
    if not isinstance(name, str) or not name:
        raise bad_request("the run has no environment")
    if version is None and not environments.is_reserved(name):
        return environments.saved(service, name, environment)
    try:
        return environments.find(service, name, version)
    except ServiceError as error:
        raise bad_request(error.message, error.code) from None


ROUTES = (
    Route(
        "POST",
        "/execution/v1.0{ws}/experiments/{experiment}/snapshotrun",
        submit,
        "`Experiment.submit(ScriptRunConfig)`",
    ),
)
