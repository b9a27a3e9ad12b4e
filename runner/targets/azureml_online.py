"""What only the service knows of a configuration: asked for with reading requests, nothing is made or registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import history
from runner.answers import Answer, Standing, not_asked, refused
from runner.errors import TargetError
from runner.spec import Plan, digest
from runner.targets import azureml_inputs
from runner.targets.azureml_compute import differences, find, idle_seconds, is_cluster, missing
from runner.targets.azureml_environment import AbsentError, is_curated, looked_up, refusals, wanted_of
from runner.targets.azureml_workspace import Service, connect, quiet, service_errors

WORKSPACE = "workspace"
PROVIDER = "/providers/Microsoft.MachineLearningServices"
LOW_PRIORITY_ROW, DEDICATED_ROW = "totalclusterlowpriority", "totalclusterdedicated"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about: a resolved configuration, the nodes it needs at once, its staged code where it has any."""

    project: Path
    config: Mapping[str, Any]
    nodes: int = 1
    staged: Path | None = None

    @property
    def compute(self) -> Mapping[str, Any]:
        asked: Mapping[str, Any] = self.config["compute"]
        return asked

    @property
    def key(self) -> str:
        """Equal where the answers are."""
        parts = [self.config.get(name) for name in ("workspace", "compute", "env", "inputs")]
        root = (self.config.get("code") or {}).get("root")
        return digest([str(self.project), *parts, root, self.nodes, str(self.staged)])


def question_of(plan: Plan) -> Question:
    project = Path(plan.project)
    return Question(project, plan.config, plan.layout.nodes, history.snapshot_dir(project, plan.snapshot.digest))


def answers(plans: Sequence[Plan]) -> list[list[Answer]]:
    """For each plan, in order. What plans have in common is asked once."""
    questions = [question_of(plan) for plan in plans]
    known = {key: ask(question) for key, question in {item.key: item for item in questions}.items()}
    return [known[question.key] for question in questions]


def ask(question: Question) -> list[Answer]:
    """The workspace first: where it does not answer, the others are not asked."""
    reached, service = reach(question)
    abouts = [*QUESTIONS, *(about for about in SOMETIMES if question.config.get(about))]
    if service is None:
        return [reached, *(not_asked(about, "the workspace cannot be asked") for about in abouts)]
    return [reached, *(answered(about, service, question) for about in abouts)]


def reach(question: Question) -> tuple[Answer, Service | None]:
    """Whether the workspace can be used. `workspace=emulator` starts one where none runs, as `run` does."""
    try:
        service = connect(question.project, question.config["workspace"])
    except TargetError as error:
        return refused(WORKSPACE, error), None
    found = service.workspace
    facts = {"name": found.name, "location": found.location, "resource_group": found.resource_group}
    text = f"'{found.name}' in {found.location} can be used"
    return Answer(WORKSPACE, Standing.OK, text, facts=facts), service


def answered(about: str, service: Service, question: Question) -> Answer:
    """One question; a refusal is its answer, so the others are still asked."""
    try:
        return {**QUESTIONS, **SOMETIMES}[about](service, question)
    except AbsentError as error:
        return refused(about, error, Standing.MISSING)
    except TargetError as error:
        return refused(about, error)


def cluster(service: Service, question: Question) -> Answer:
    asked = question.compute
    name, found = str(asked["name"]), cluster_of(service, question)
    if found is None:
        if not asked.get("create"):
            return refused("cluster", missing(service, name), Standing.MISSING)
        size, most = f"{asked['vm_size']}, {asked.get('priority') or 'dedicated'}", asked["max_nodes"]
        text = f"'{name}' would be made: {size}, {asked.get('min_nodes') or 0} to {most} nodes"
        return too_small(question, most) or Answer(
            "cluster", Standing.OK, text, facts={"cluster": name, "found": False, "differences": []}
        )
    if not is_cluster(found):
        standing = Standing.MISSING if asked.get("create") else Standing.WARNING
        return Answer("cluster", standing, f"'{name}' is no AmlCompute cluster, but {found.type}", "name another one")
    return existing(found, question)


def cluster_of(service: Service, question: Question) -> Any | None:
    """Two questions need it: it is asked for once, also where the answer is a refusal (the SDK tries for long)."""
    name = str(question.compute["name"])

    def outcome() -> Any:
        try:
            return find(service, name)
        except TargetError as error:
            return error

    found = service.paced(f"cluster {name}", outcome)
    if isinstance(found, TargetError):
        raise found
    return found


def existing(found: Any, question: Question) -> Answer:
    """A cluster as it is now, and what the YAML says otherwise."""
    asked, status = question.compute, getattr(found, "status", None)
    counts = getattr(status, "node_state_counts", None)
    busy, idle = getattr(counts, "running_node_count", 0), getattr(counts, "idle_node_count", 0)
    scale = found.scale_settings
    rows = [difference_row(row, applied=bool(asked.get("create"))) for row in differences(found, asked)]
    applied = {row["key"]: row["asked"] for row in rows if row["applied"]}
    facts = {
        "cluster": found.name,
        "found": True,
        "vm_size": found.vm_size,
        "priority": found.vm_priority,
        "min_nodes": scale.minimum_node_count,
        "max_nodes": scale.maximum_node_count,
        "idle_seconds": idle_seconds(found),
        "nodes": getattr(status, "current_node_count", 0),
        "busy_nodes": busy,
        "idle_nodes": idle,
        "state": found.provisioning_state,
        "differences": rows,
    }
    shape = f"{found.vm_size}, {found.vm_priority}, {scale.minimum_node_count} to {scale.maximum_node_count} nodes"
    parts = [f"'{found.name}' is there: {shape}, {busy} busy and {idle} idle now"]
    parts += [f"{row['key']} is {row['found']}, the YAML says {row['asked']}: {row['effect']}" for row in rows]
    steady = found.provisioning_state == "Succeeded"
    if not steady:
        parts.append(f"its state is {found.provisioning_state}")
    standing = Standing.OK if steady and not rows else Standing.WARNING
    most = int(applied.get("max_nodes", scale.maximum_node_count))
    return too_small(question, most, facts) or Answer("cluster", standing, ", ".join(parts), facts=facts)


def difference_row(row: tuple[Any, Any, Any], *, applied: bool) -> dict[str, Any]:
    setting, asked, found = row
    changed = applied and setting.update is not None
    stays = "Azure cannot change it" if applied else "compute.create is false"
    effect = "'run' would change it" if changed else f"it stays, {stays}"
    return {"key": setting.key, "asked": asked, "found": found, "applied": changed, "effect": effect}


def too_small(question: Question, most: int, facts: Mapping[str, Any] | None = None) -> Answer | None:
    """A run of more nodes than the cluster may have would wait for ever."""
    if question.nodes <= most:
        return None
    text = f"'{question.compute['name']}' has at most {most} nodes, the run needs {question.nodes} at once"
    hint = "set compute.max_nodes (with compute.create), or fewer distribution.nodes"
    return Answer("cluster", Standing.MISSING, text, hint, facts or {})


def quota(service: Service, question: Question) -> Answer:
    """Cores of the VM family that the region still gives, against what the run needs beyond idle nodes."""
    found = cluster_of(service, question)
    name = getattr(found, "vm_size", None) or question.compute.get("vm_size")
    if not name:
        return not_asked("quota", "the size of the nodes is not known")
    location = str(getattr(found, "cluster_location", None) or question.compute.get("location") or "")
    location = location or service.workspace.location
    size = offered(service, str(name), location)
    if size is None:
        standing = Standing.MISSING if found is None else Standing.WARNING
        hint = f"choose another compute.vm_size, or another region than {location}"
        return Answer("quota", standing, f"'{name}' is not offered in {location}", hint)
    priority = getattr(found, "vm_priority", None) or question.compute.get("priority") or "dedicated"
    row = tightest(usages(service, location), str(size.get("family") or ""), low=str(priority).lower() != "dedicated")
    if row is None:
        text = f"the service names no quota for '{name}' ({size.get('family') or 'family not said'}) in {location}"
        return Answer("quota", Standing.WARNING, text, "its quota page in the portal may")
    counts = getattr(getattr(found, "status", None), "node_state_counts", None)
    more = max(question.nodes - getattr(counts, "idle_node_count", 0), 0)
    return weighed(row, location, int(size["vCPUs"]), (question.nodes, more))


def offered(service: Service, name: str, location: str) -> Mapping[str, Any] | None:
    """The VM size as the region has it, None where it does not."""
    with service_errors(f"cannot ask for the VM sizes of {location}"), quiet():
        sizes = vm_sizes_of(service.workspace, location)
    return next((size for size in sizes if str(size["name"]).lower() == name.lower()), None)


def vm_sizes_of(workspace: Any, location: str) -> list[Mapping[str, Any]]:
    """As `AmlCompute.supported_vmsizes` asks, which leaves out of the answer the family that a quota is named for."""
    from azureml._compute._constants import MLC_WORKSPACE_API_VERSION
    from azureml._compute._util import get_requests_session
    from azureml._restclient.clientbase import ClientBase
    from azureml.core.compute import ComputeTarget

    endpoint = ComputeTarget._get_resource_manager_endpoint(workspace).rstrip("/")
    address = f"{endpoint}/subscriptions/{workspace.subscription_id}{PROVIDER}/locations/{location}/vmSizes"
    headers = workspace._auth.get_authentication_header()
    parameters = {"api-version": MLC_WORKSPACE_API_VERSION}
    answer = ClientBase._execute_func(get_requests_session().get, address, params=parameters, headers=headers)
    answer.raise_for_status()
    sizes: list[Mapping[str, Any]] = answer.json()["amlCompute"]
    return sizes


def usages(service: Service, location: str) -> list[Mapping[str, Any]]:
    from azureml.core.compute import AmlCompute

    with service_errors(f"cannot ask for the quota in {location}"), quiet():
        rows: list[Mapping[str, Any]] = AmlCompute.list_usages(service.workspace, location=location)
    return rows


def tightest(rows: Iterable[Mapping[str, Any]], family: str, *, low: bool) -> Mapping[str, Any] | None:
    """Of the quotas that hold for this family the one with the fewest cores left. A negative one is no limit."""
    own = f"standard{plain(family).removeprefix('standard').removesuffix('family')}family"
    names = (LOW_PRIORITY_ROW,) if low else (own, DEDICATED_ROW)
    held = [row for row in rows if named(row).startswith(names) and int(row["limit"]) >= 0]
    known = low or any(named(row).startswith(own) for row in held)
    if not (held and known):
        return None
    return min(held, key=lambda row: (int(row["limit"]) - int(row["currentValue"]), not named(row).startswith(own)))


def named(row: Mapping[str, Any]) -> str:
    return plain(str((row.get("name") or {}).get("value") or ""))


def plain(text: str) -> str:
    """Azure writes a family as 'standardNCADSA100v4Family' and as 'Standard NCADSA100v4 Family Cluster ...'."""
    return "".join(character for character in text.lower() if character.isalnum())


def weighed(row: Mapping[str, Any], location: str, cores: int, nodes: tuple[int, int]) -> Answer:
    """`nodes`: all that the run needs, and those of them that are not there yet."""
    used, limit = int(row["currentValue"]), int(row["limit"])
    total, more = (cores * count for count in nodes)
    name = str(row["name"]["value"])
    facts = {"quota": name, "location": location, "used": used, "limit": limit, "needed": more}
    text = f"{name} in {location}: {used} of {limit} in use, the run needs {more} more"
    if total > limit:
        hint = "it would never start: ask for quota in the portal, or take a smaller size or fewer nodes"
        return Answer("quota", Standing.MISSING, text, hint, facts)
    if more > limit - used:
        return Answer("quota", Standing.WARNING, text, "it waits until others end", facts)
    return Answer("quota", Standing.OK, text, facts=facts)


def environment(service: Service, question: Question) -> Answer:
    made, known = looked_up(service, wanted_of(question.config, question.project, question.staged))
    name = f"'{made.name}' version '{made.version}'"
    facts: dict[str, Any] = {"environment": made.name, "version": made.version, "registered": known is not None}
    if known is None:
        text = f"{name} would be registered and built once, which takes minutes"
        return Answer("environment", Standing.OK, text, facts={**facts, "built": False})
    if is_curated(made.name):
        return Answer("environment", Standing.OK, f"{name} is there, built by Azure", facts={**facts, "built": True})
    with refusals(f"cannot ask whether {name} is built"), quiet():
        built = bool(known.get_image_details(service.workspace).image_exist)
    done = "its image is built" if built else "its image is not built yet, which takes minutes once"
    return Answer("environment", Standing.OK, f"{name} is registered, {done}", facts={**facts, "built": built})


def inputs(service: Service, question: Question) -> Answer:
    """Whether the datastores and datasets are there; what is at a path of one is seen when the run starts."""
    rows = azureml_inputs.sources(service, question.config["inputs"])
    facts = {"inputs": [{key: row[key] for key in ("name", "kind", "source", "version", "found")} for row in rows]}
    lacking = [row for row in rows if not row["found"]]
    if lacking:
        text = f"no {', no '.join(dict.fromkeys(map(source, lacking)))} in workspace '{service.workspace.name}'"
        there = {row["kind"]: f"{row['kind']}s {', '.join(row['there']) or 'none'}" for row in lacking}
        return Answer("inputs", Standing.MISSING, text, f"there are: {', '.join(there.values())}", facts)
    found = ", ".join(dict.fromkeys(map(source, rows)))
    return Answer("inputs", Standing.OK, f"there: {found}" if found else "none of them is the workspace's", facts=facts)


def source(row: Mapping[str, Any]) -> str:
    return f"{row['kind']} '{row['source']}'" + (f" version {row['version']}" if row["version"] else "")


QUESTIONS: Mapping[str, Callable[[Service, Question], Answer]] = {
    "cluster": cluster,
    "quota": quota,
    "environment": environment,
}
# Of what only some configurations have.
SOMETIMES: Mapping[str, Callable[[Service, Question], Answer]] = {"inputs": inputs}
