"""Runs that this machine has never seen: what the service keeps of them becomes a plan and a run of the history.

Whoever submits leaves the plan with the run (outputs/amlrun/plan.json). A run that was not made by amlrun has none:
its plan is put together from its definition, enough to look at it, not to run it again.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.spec import GitState, Layout, Plan, Run, SnapshotRef, State
from runner.targets.azureml_files import PLAN, PLANS, PLANS_TAG, run_of
from runner.targets.azureml_states import iso, look_up, moved, status_of
from runner.targets.azureml_workspace import Service, quiet, service_errors

NOT_FOUND = 404
FOREIGN = "not submitted by amlrun"


def publish(plans: Sequence[Plan], run: Any) -> str:
    """Leave the plans of a submission with its first run, for machines that know no more than a URL.

    Returns what went wrong, or ''. The other runs have a tag that names the first.
    """
    first, *others = [replace(plan, project=".").as_json() for plan in plans]
    left = {PLAN: first, **({PLANS: {plan["id"]: plan for plan in others}} if others else {})}
    try:
        with service_errors("the plan was not left with the run, others cannot rerun it"), quiet():
            for path, content in left.items():
                run.upload_file(path, io.BytesIO(json.dumps(content, ensure_ascii=True).encode()))
    except TargetError as error:
        return str(error)
    return ""


def adopt(service: Service, project: Path, settings: Mapping[str, Any], experiment: str, run_id: str) -> Run:
    """Keep a run of the service in the history of `project`. Raises TargetError where the service has no such run."""
    record = look_up(service, experiment, run_id)
    if record is None:
        raise TargetError(
            f"workspace '{service.workspace.name}' has no run '{run_id}' in experiment '{experiment}'; "
            "'amlrun list --remote' shows what there is"
        )
    plan = published(service, run_id) or described(service, experiment, run_id, iso(record.created_utc))
    here = replace(
        plan,
        project=str(project),
        workspace=service.workspace.name,
        config={**plan.config, "workspace": dict(settings)},
    )
    history.store_plan(project, here)
    with quiet():
        page = run_of(service, run_id).get_portal_url()
    # Not final, whatever the service says: the next look collects what an end leaves.
    run = replace(history.planned(here), state=State.UNKNOWN, created=iso(record.created_utc), page=page)
    history.store_run(project, run)
    return run


def published(service: Service, run_id: str) -> Plan | None:
    """The plan that was left with the run, or with the first of its submission.

    Raises TargetError where it cannot be asked for or read.
    """
    try:
        with service_errors(f"cannot ask for the plan of run '{run_id}'"), quiet():
            content = left_with(run_of(service, run_id), PLAN)
            first = None if content else (run_of(service, run_id).get_tags() or {}).get(PLANS_TAG)
            if first:
                content = (left_with(run_of(service, first), PLANS) or {}).get(run_id)
        return None if content is None else Plan.from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"another version wrote it ({type(error).__name__}: {error})"
        raise TargetError(f"the plan of run '{run_id}' cannot be read; {what}") from error


def left_with(run: Any, name: str) -> Any | None:
    """The JSON in an artifact of the run, None where there is no such artifact or no JSON in it."""
    if name not in run.get_file_names():
        return None
    with tempfile.TemporaryDirectory(prefix="amlrun-") as folder:
        path = Path(folder, "content.json")
        run.download_file(name, str(path))
        return json.loads(path.read_bytes())


def described(service: Service, experiment: str, run_id: str, created: str) -> Plan:
    """What the definition of a run says, as a plan."""
    with service_errors(f"cannot ask for run '{run_id}'"), quiet():
        definition = run_of(service, run_id).get_details().get("runDefinition") or {}
    asked = without_case(definition)
    environment = without_case(asked.get("environment") or {})
    seconds = asked.get("maxrundurationseconds")
    return Plan(
        id=run_id,
        name=experiment,
        target="azureml",
        created=created,
        project="",
        overrides=(),
        frozen=(),
        choices={},
        config={
            "compute": {"kind": "amlcompute", "name": asked.get("target")},
            "env": {"kind": "curated", "name": environment.get("name"), "version": environment.get("version")},
            "code": {"root": "."},
        },
        digests={},
        layout=layout_of(asked),
        python="python",
        script=asked.get("script") or None,
        arguments=tuple(str(item) for item in asked.get("arguments") or ()),
        command=(),
        shell=str(asked.get("command") or ""),
        environment={str(name): str(value) for name, value in (asked.get("environmentvariables") or {}).items()},
        secrets=(),
        inputs={},
        limits={"max_minutes": seconds / 60 if seconds else None, "max_cost": None},
        tags={},
        resolved={"env": f"{environment.get('name')}:{environment.get('version')}"},
        snapshot=SnapshotRef("", 0, 0),
        git=GitState(),
        not_checked=(FOREIGN,),
    )


def layout_of(asked: Mapping[str, Any]) -> Layout:
    """Processes as the definition asks for them; keys are in lower case."""
    nodes = int(asked.get("nodecount") or 1)
    communicator = str(asked.get("communicator") or "").lower()
    if "mpi" in communicator:
        return Layout("mpi", nodes, int(without_case(asked.get("mpi") or {}).get("processcountpernode") or 1))
    if str(asked.get("framework") or "").lower() == "pytorch":
        total = without_case(asked.get("pytorch") or {}).get("processcount") or nodes
        return Layout("pytorch", nodes, max(int(total) // nodes, 1), communicator or None)
    return Layout("none", 1, 1)


def without_case(values: Mapping[str, Any]) -> dict[str, Any]:
    """The service writes `nodeCount`, the SDK's own dumps `node_count` or `NodeCount`."""
    return {str(name).replace("_", "").lower(): value for name, value in values.items()}


def newest(service: Service, count: int, experiment: str | None = None) -> list[Run]:
    """The newest runs of the workspace, or of one experiment, as the service knows them; nothing is stored."""
    from azureml._restclient.experiment_client import ExperimentClient
    from azureml.core import Experiment

    found = []
    with service_errors("cannot ask for the runs of the workspace"), quiet():
        names = [experiment] if experiment else [item.name for item in Experiment.list(service.workspace)]
        for name in names:
            client = ExperimentClient(service.workspace.service_context, name)
            try:
                records = list(islice(client.get_runs(last=count), count))
            except Exception as error:
                if status_of(error) != NOT_FOUND:
                    raise
                records = []
            found += [as_run(service.workspace.name, name, record) for record in records]
    return sorted(found, key=lambda run: (run.created, run.id), reverse=True)[:count]


def as_run(workspace: str, experiment: str, record: Any) -> Run:
    created = iso(record.created_utc)
    url = f"azureml://{workspace}/{experiment}/{record.run_id}"
    return moved(Run(record.run_id, url, experiment, "azureml", State.UNKNOWN, created), record)


def code(service: Service, run_id: str, folder: Path) -> None:
    """The code that was submitted with the run, into `folder`."""
    with service_errors(f"the code of run '{run_id}' cannot be downloaded"), quiet():
        bundle = run_of(service, run_id).restore_snapshot(path=str(folder.parent))
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder)  # extractall itself keeps every name below the folder
    Path(bundle).unlink()
