"""plan --online: what a service says of a plan, in words and for programs; a refusal never reads as 'there is none'."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runner.answers import Answer, Standing
from runner.errors import TargetError
from runner.resources import packaged
from runner.targets import azureml_online
from runner.targets.azureml_environment import AbsentError
from runner.targets.azureml_online import Question, answered, answers, ask, environment, quota, tightest
from runner.targets.azureml_workspace import Service
from runner.verbs import asking
from tests.azureml.conftest import ComputeTargetError, MakePlan
from tests.conftest import Outcome, write

Put = Callable[..., None]
SIZE = "Standard_DS3_v2"
SIZES = [{"name": SIZE, "vCPUs": 4, "family": "standardDSv2Family"}]
COMPUTE = {
    "name": "cpu",
    "create": True,
    "vm_size": SIZE,
    "priority": "dedicated",
    "min_nodes": 0,
    "max_nodes": 2,
    "idle_seconds": 600,
}
REFUSALS = [401, 403, 429, 500, 503]
DSV2, TOTAL, LOW = (
    "Standard DSv2 Family Cluster Dedicated vCPUs",
    "Total Cluster Dedicated Regional vCPUs",
    "Total Cluster LowPriority Regional vCPUs",
)


def usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": used, "limit": limit}


def cluster_like(**changes: Any) -> Any:
    """A cluster as the SDK shows it, equal to COMPUTE."""
    values = {"least": 0, "most": 2, "idle": "PT10M", "busy": 0, "idling": 0, "state": "Succeeded", **changes}
    counts = SimpleNamespace(running_node_count=values["busy"], idle_node_count=values["idling"])
    return SimpleNamespace(
        name="cpu",
        type=values.get("type", "AmlCompute"),
        vm_size=values.get("size", SIZE.upper()),
        vm_priority=values.get("priority", "Dedicated"),
        cluster_location="eastus",
        provisioning_state=values["state"],
        status=SimpleNamespace(current_node_count=values["busy"] + values["idling"], node_state_counts=counts),
        scale_settings=SimpleNamespace(
            minimum_node_count=values["least"],
            maximum_node_count=values["most"],
            idle_seconds_before_scaledown=values["idle"],
        ),
    )


@pytest.fixture
def question(tmp_path: Path) -> Question:
    config = {
        "workspace": {"kind": "azureml", "name": "ws"},
        "compute": COMPUTE,
        "env": {"kind": "curated", "name": "AzureML-x", "version": "1"},
    }
    return Question(tmp_path, config)


@pytest.fixture
def service(service: Service) -> Service:
    service.workspace.location, service.workspace.resource_group = "eastus", "group"
    return service


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Put:
    """What the service has: has(cluster=..., sizes=..., usages=..., environment=(made, known))."""

    def put(**found: Any) -> None:
        for name, value in {"cluster": None, "sizes": SIZES, "usages": [usage(DSV2, 0, 100)], **found}.items():
            target = {"cluster": "find", "sizes": "vm_sizes_of", "usages": "usages", "environment": "looked_up"}[name]
            monkeypatch.setattr(azureml_online, target, lambda *_, value=value: value)

    return put


def asked_with(question: Question, nodes: int = 1, **compute: Any) -> Question:
    return replace(question, nodes=nodes, config={**question.config, "compute": {**COMPUTE, **compute}})


def valid(plan_id: str, found: list[Answer]) -> list[Answer]:
    """Answers that have the form of their schema, and close it: no answer may say what the schema does not."""
    schema = json.loads((packaged("schemas") / "online.schema.json").read_text())
    Draft202012Validator(schema).validate([{"run": plan_id, "answers": [item.as_json() for item in found]}])
    return found


@pytest.mark.parametrize(
    ("found", "asked", "standing", "words"),
    [
        (None, {}, "ok", f"'cpu' would be made: {SIZE}, dedicated, 0 to 2 nodes"),
        (None, {"max_nodes": 2, "nodes": 3}, "missing", "'cpu' has at most 2 nodes, the run needs 3 at once"),
        (None, {"create": False}, "missing", "no cluster 'cpu' in workspace 'ws'; there are: 'gpu'"),
        ({"busy": 1, "idling": 1}, {}, "ok", "Dedicated, 0 to 2 nodes, 1 busy and 1 idle now"),
        ({"most": 4}, {}, "warning", "max_nodes is 4, the YAML says 2: 'run' would change it"),
        ({"idle": "PT1H"}, {}, "warning", "idle_seconds is 3600, the YAML says 600: 'run' would change it"),
        ({"size": "STANDARD_NC6"}, {}, "warning", "it stays, Azure cannot change it"),
        ({"priority": "LowPriority"}, {}, "warning", "priority is LowPriority, the YAML says dedicated: it stays"),
        ({"most": 4}, {"create": False}, "warning", "it stays, compute.create is false"),
        ({"most": 1}, {"nodes": 2}, "warning", "max_nodes is 1, the YAML says 2: 'run' would change it"),
        ({"most": 1}, {"create": False, "nodes": 2}, "missing", "at most 1 nodes, the run needs 2 at once"),
        ({"state": "Failed"}, {}, "warning", "its state is Failed"),
        ({"type": "Kubernetes"}, {}, "missing", "'cpu' is no AmlCompute cluster, but Kubernetes"),
        ({"type": "Kubernetes"}, {"create": False}, "warning", "'cpu' is no AmlCompute cluster, but Kubernetes"),
    ],
)
def test_a_cluster_is_compared_with_what_is_asked(
    found: dict[str, Any] | None,
    asked: dict[str, Any],
    standing: str,
    words: str,
    service: Service,
    question: Question,
    has: Put,
) -> None:
    has(cluster=None if found is None else cluster_like(**found))
    service.workspace.compute_targets = {"gpu": None}
    [said] = valid("r", [answered("cluster", service, asked_with(question, **asked))])

    assert said.standing.value == standing
    assert words in str(said)


def test_differences_are_there_for_programs(service: Service, question: Question, has: Put) -> None:
    has(cluster=cluster_like(most=4, size="STANDARD_NC6", busy=1))
    said = answered("cluster", service, question)

    rows = {row["key"]: (row["asked"], row["found"], row["applied"]) for row in said.facts["differences"]}
    assert rows == {"vm_size": (SIZE, "STANDARD_NC6", False), "max_nodes": (2, 4, True)}
    assert (said.facts["found"], said.facts["busy_nodes"], said.facts["nodes"]) == (True, 1, 1)


@pytest.mark.parametrize(
    ("rows", "nodes", "standing", "words"),
    [
        ([usage(DSV2, 8, 100)], 2, "ok", f"{DSV2} in eastus: 8 of 100 in use, the run needs 8 more"),
        ([usage(DSV2, 96, 100)], 2, "warning", "it waits until others end"),
        ([usage(DSV2, 0, 4)], 2, "missing", "it would never start"),
        ([usage(DSV2, 0, 0)], 1, "missing", "0 of 0 in use, the run needs 4 more"),
        ([usage(DSV2, 0, 100), usage(TOTAL, 99, 100)], 1, "warning", TOTAL),
        ([usage(TOTAL, 0, 100), usage(DSV2, 0, 100)], 1, "ok", DSV2),
        ([usage(DSV2, 0, -1), usage(TOTAL, 0, 100)], 1, "warning", "names no quota"),
        ([usage(TOTAL, 0, 100)], 1, "warning", f"the service names no quota for '{SIZE}' (standardDSv2Family)"),
        ([], 1, "warning", "names no quota"),
    ],
)
def test_the_quota_is_weighed_against_the_nodes(
    rows: list[Any], nodes: int, standing: str, words: str, service: Service, question: Question, has: Put
) -> None:
    has(usages=rows)
    [said] = valid("r", [answered("quota", service, asked_with(question, nodes=nodes))])

    assert said.standing.value == standing
    assert words in str(said)


@pytest.mark.parametrize(
    ("family", "row", "low", "held"),
    [
        ("standardNCADSA100v4Family", "Standard NCADSA100v4 Family Cluster Dedicated vCPUs", False, True),
        ("Standard NCASv3_T4 Family", "standardNCASv3_T4Family", False, True),
        ("standardDSv2Family", "Standard DSv2 Promo Family Cluster Dedicated vCPUs", False, False),
        ("standardDv2Family", "Standard DSv2 Family Cluster Dedicated vCPUs", False, False),
        ("standardDv2Family", LOW, False, False),
        ("standardDv2Family", LOW, True, True),
        ("standardDSv2Family", "Standard DSv2 Family Cluster Dedicated vCPUs", True, False),
    ],
)
def test_azure_writes_a_family_in_several_ways(family: str, row: str, low: bool, held: bool) -> None:
    assert (tightest([usage(row, 0, 10)], family, low=low) is not None) == held


def test_idle_nodes_need_no_quota(service: Service, question: Question, has: Put) -> None:
    has(cluster=cluster_like(idling=1), usages=[usage(DSV2, 4, 8)])

    assert quota(service, asked_with(question, nodes=2)).facts["needed"] == 4


def test_idle_nodes_do_not_make_a_run_fit_that_never_can(service: Service, question: Question, has: Put) -> None:
    """Waiting would not help: what is idle is in use already."""
    has(cluster=cluster_like(idling=1), usages=[usage(DSV2, 4, 4)])

    assert quota(service, asked_with(question, nodes=2)).standing is Standing.MISSING


@pytest.mark.parametrize(
    ("found", "asked", "standing", "words"),
    [
        (None, {"vm_size": "Standard_Q1"}, "missing", "'Standard_Q1' is not offered in eastus"),
        (None, {"vm_size": "Standard_Q1", "location": "north"}, "missing", "not offered in north"),
        ({"size": "Standard_Q1"}, {}, "warning", "'Standard_Q1' is not offered in eastus"),
        (None, {"vm_size": None, "create": False}, "not asked", "the size of the nodes is not known"),
    ],
)
def test_a_size_that_the_region_lacks(
    found: Any, asked: dict[str, Any], standing: str, words: str, service: Service, question: Question, has: Put
) -> None:
    has(cluster=None if found is None else cluster_like(**found))
    said = quota(service, asked_with(question, **asked))

    assert (said.standing.value, words in str(said)) == (standing, True)


class Known:
    """An environment of the workspace. `exists`: whether its image is built, or why nobody can say."""

    def __init__(self, name: str, exists: Any = True) -> None:
        self.name, self.version, self.exists = name, "1", exists

    def get_image_details(self, workspace: Any) -> Any:
        if isinstance(self.exists, Exception):
            raise self.exists
        return SimpleNamespace(image_exist=self.exists)


@pytest.mark.parametrize(
    ("known", "words", "facts"),
    [
        (None, "'mine' version '1' would be registered and built once", (False, False)),
        (Known("mine"), "'mine' version '1' is registered, its image is built", (True, True)),
        (Known("mine", False), "its image is not built yet", (True, False)),
        (Known("AzureML-x", RuntimeError("not to be asked")), "is there, built by Azure", (True, True)),
    ],
)
def test_an_environment_is_there_or_would_be_made(
    known: Known | None, words: str, facts: Any, service: Service, question: Question, has: Put
) -> None:
    has(environment=(known or Known("mine"), known))
    [said] = valid("r", [environment(service, question)])

    assert said.standing is Standing.OK
    assert words in said.text
    assert (said.facts["registered"], said.facts["built"]) == facts


def test_an_environment_that_is_not_there_is_missing(
    service: Service, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any) -> Any:
        raise AbsentError("no environment 'AzureML-x'; did you mean 'AzureML-y'?")

    monkeypatch.setattr(azureml_online, "looked_up", absent)
    said = answered("environment", service, question)
    assert (said.standing, said.hint) == (Standing.MISSING, "did you mean 'AzureML-y'?")


STORED, NEWER = {"datastore": "blobs", "path": "raw"}, {"dataset": "birds", "version": 3}


@pytest.mark.parametrize(
    ("inputs", "standing", "words"),
    [
        ({"a": STORED, "b": {"dataset": "birds"}}, "ok", "there: datastore 'blobs', dataset 'birds'"),
        ({"a": {"dataset": "birds", "version": "2"}}, "ok", "there: dataset 'birds' version 2"),
        ({"a": {"dataset": "birds", "version": "latest"}, "b": STORED, "c": STORED}, "ok", "latest, datastore 'blobs'"),
        (
            {"a": {"datastore": "Blobs"}},
            "missing",
            "no datastore 'Blobs' in workspace 'ws'; there are: datastores 'blobs'",
        ),
        (
            {"a": NEWER},
            "missing",
            "no dataset 'birds' version 3 in workspace 'ws'; there are: datasets 'birds' (newest 2)",
        ),
        ({"a": {"dataset": "birds", "version": "new"}, "b": STORED}, "missing", "no dataset 'birds' version new in"),
        (
            {"a": NEWER, "b": {"datastore": "x"}},
            "missing",
            "version 3, no datastore 'x' in workspace 'ws'; there are: data",
        ),
        ({"a": {"path": "here"}}, "ok", "none of them is the workspace's"),
    ],
)
def test_inputs_are_there_or_named(
    inputs: dict[str, Any], standing: str, words: str, service: Service, question: Question
) -> None:
    service.workspace.datastores = {"blobs": None}
    service.workspace.datasets = SimpleNamespace(registrations=[SimpleNamespace(name="birds", version=2)])
    asked = replace(question, config={**question.config, "inputs": inputs})
    [said] = valid("r", [answered("inputs", service, asked)])

    assert said.standing.value == standing
    assert words in str(said)


def test_only_what_inputs_name_is_listed(service: Service, question: Question) -> None:
    """Who may not read datasets still reads a datastore."""
    service.workspace.datastores = {"blobs": None}
    asked = replace(question, config={**question.config, "inputs": {"a": STORED}})
    assert answered("inputs", service, asked).standing is Standing.OK

    asked = replace(question, config={**question.config, "inputs": {"a": NEWER}})
    with pytest.raises(AttributeError, match="datasets"):
        answered("inputs", service, asked)


@pytest.mark.parametrize("inputs", [{}, {"a": STORED}])
def test_inputs_are_asked_about_where_there_are_any(
    inputs: dict[str, Any], question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_online, "reach", lambda _: (Answer("workspace", Standing.ERROR, "gone"), None))
    said = ask(replace(question, config={**question.config, "inputs": inputs}))
    assert ("inputs" in [item.about for item in said]) is bool(inputs)


@pytest.mark.parametrize("code", REFUSALS)
def test_lists_that_are_refused_are_named(code: int, service: Service, question: Question) -> None:
    class Refusing:
        name = "ws"

        @property
        def datastores(self) -> Any:
            raise ComputeTargetError(f"Response Code: {code}\nNotFound")

    refusing = replace(service, workspace=Refusing())
    said = answered("inputs", refusing, replace(question, config={**question.config, "inputs": {"a": STORED}}))

    assert said.standing is Standing.ERROR
    assert said.text.startswith("cannot list the datastores: ")
    assert str(code) in said.text


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("about", ["cluster", "quota", "environment"])
def test_a_refusal_is_an_error_that_names_what_was_asked(
    about: str, code: int, service: Service, question: Question, fake_module: Callable[..., None]
) -> None:
    """In the words of azureml-core 1.61; a 403 tells in its text that something was not found."""
    text = f"Response Code: {code}\nContent: {{'message': 'the principal was not found: NotFound 404'}}"

    def refuse(*_: Any, **__: Any) -> Any:
        raise ComputeTargetError(f"Received bad response from Resource Provider:\n{text}")

    def refuse_environment(*_: Any, **__: Any) -> Any:
        raise Exception(f"Error retrieving the environment definition. Code: {code}\n: NotFound 404 not found")

    fake_module("azureml._compute._util", get_requests_session=lambda: SimpleNamespace(get=None))
    fake_module("azureml._compute._constants", MLC_WORKSPACE_API_VERSION="1")
    fake_module("azureml._restclient.clientbase", ClientBase=SimpleNamespace(_execute_func=refuse))
    fake_module("azureml.core.compute", ComputeTarget=refuse, AmlCompute=SimpleNamespace(list_usages=refuse))
    fake_module("azureml.core", Environment=SimpleNamespace(get=refuse_environment, list=refuse_environment))
    fake_module("azureml.exceptions", ComputeTargetException=ComputeTargetError)
    said = answered(about, service, question)

    assert said.standing is Standing.ERROR
    assert said.text.startswith(("cannot ask for the cluster 'cpu'", "cannot ask for the environment 'AzureML-x'"))
    assert str(code) in said.text


@pytest.mark.parametrize("code", REFUSALS)
def test_sizes_and_usages_that_are_refused_are_named(
    code: int, service: Service, fake_module: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ComputeTargetError(f"Error occurred retrieving targets:\nResponse Code: {code}")

    monkeypatch.setattr(azureml_online, "vm_sizes_of", refuse)
    with pytest.raises(TargetError, match=f"^cannot ask for the VM sizes of eastus: .*{code}"):
        azureml_online.offered(service, SIZE, "eastus")
    fake_module("azureml.core.compute", AmlCompute=SimpleNamespace(list_usages=refuse))
    with pytest.raises(TargetError, match=f"^cannot ask for the quota in eastus: .*{code}"):
        azureml_online.usages(service, "eastus")


def test_an_image_that_nobody_can_say_of_is_an_error(service: Service, question: Question, has: Put) -> None:
    known = Known("mine", Exception("Error getting image details. Code: 500\n: "))
    has(environment=(known, known))

    assert (
        "cannot ask whether 'mine' version '1' is built: Error getting"
        in answered("environment", service, question).text
    )


@pytest.mark.parametrize(
    "error", [ConnectionError("no network"), TargetError("the variable 'X' is not set"), TargetError("403 Forbidden")]
)
def test_where_the_workspace_does_not_answer_the_rest_is_not_asked(
    error: Exception, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        with azureml_online.service_errors("workspace 'ws' cannot be used"):
            raise error

    monkeypatch.setattr(azureml_online, "connect", refuse)
    first, *others = valid("r", ask(question))

    assert (first.about, first.standing) == ("workspace", Standing.ERROR)
    assert str(error) in first.text
    assert {item.standing for item in others} == {Standing.NOT_ASKED}
    assert [item.about for item in others] == list(azureml_online.QUESTIONS)


def test_a_secret_in_a_refusal_is_hidden(service: Service, question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise TargetError(f"refused: AccountKey={'A' * 86}==; log in")

    monkeypatch.setattr(azureml_online, "find", refuse)
    said = answered("cluster", service, question)

    assert ("A" * 20 in said.text, said.hint) == (False, "log in")


def test_one_refusal_does_not_stop_the_other_questions(
    service: Service, question: Question, has: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise TargetError("cannot ask for the quota in eastus: 403")

    has(environment=(Known("mine"), None))
    monkeypatch.setattr(azureml_online, "usages", refuse)
    monkeypatch.setattr(azureml_online, "connect", lambda *_: service)

    assert [item.standing.value for item in ask(question)] == ["ok", "ok", "error", "ok"]


def test_a_cluster_that_is_refused_is_asked_for_once(
    service: Service, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(service: Service, name: str) -> Any:
        asked.append(name)
        raise TargetError(f"cannot ask for the cluster '{name}': 500")

    monkeypatch.setattr(azureml_online, "find", find)
    patient = Service(service.workspace, pace=60)
    said = [answered(about, patient, question) for about in ("cluster", "quota")]

    assert {item.text for item in said} == {"cannot ask for the cluster 'cpu': 500"}
    assert asked == ["cpu"]


def test_what_plans_have_in_common_is_asked_once(
    make_plan: MakePlan, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(service: Service, name: str) -> Any:
        asked.append(name)

    monkeypatch.setattr(azureml_online, "connect", lambda *_: service)
    monkeypatch.setattr(azureml_online, "QUESTIONS", {"cluster": azureml_online.cluster})
    monkeypatch.setattr(azureml_online, "find", find)
    plans = [make_plan(id=f"r{n}") for n in range(5)]
    config = {**plans[0].config, "compute": {**COMPUTE, "name": "gpu"}}
    found = answers(
        [replace(plan, config={**plan.config, "compute": COMPUTE}) for plan in plans[:4]]
        + [replace(plans[4], config=config)]
    )

    assert asked == ["cpu", "gpu"]
    assert len(found) == 5


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What the service says of every plan."""
    said = [Answer("workspace", Standing.OK, "'ws' can be used", facts={"name": "ws"})]
    monkeypatch.setattr(azureml_online, "answers", lambda plans: [list(said) for _ in plans])
    return said


AZURE = ("code.script=main.py", "compute=cpu-cluster", "workspace=emulator", "--online")


def test_an_online_plan_shows_answers_instead_of_what_was_not_asked(
    bare: Path, cli: Callable[..., Outcome], told: list[Answer]
) -> None:
    told.append(Answer("quota", Standing.NOT_ASKED, "the size is not known"))
    write(bare, {"main.py": ""})
    shown, data = cli(bare, "plan", *AZURE), cli(bare, "plan", *AZURE, "--json")

    assert (shown.code, data.code) == (0, 0), shown.err
    assert "\nworkspace  ok,        'ws' can be used\n" in shown.out
    assert shown.out.count("not asked") == 2  # in the plan, and as the answer
    [plan] = json.loads(data.out)["plans"]
    assert plan["not_asked"] == ["quota: the size is not known"]
    assert json.loads(data.out)["online"] == [{"run": plan["id"], "answers": [item.as_json() for item in told]}]


@pytest.mark.parametrize("standing", [Standing.MISSING, Standing.ERROR])
def test_an_online_plan_that_would_be_refused_says_so_and_ends_with_4(
    standing: Standing, bare: Path, cli: Callable[..., Outcome], told: list[Answer]
) -> None:
    told.append(Answer("cluster", standing, "no cluster 'x'", "make it"))
    write(bare, {"main.py": ""})
    done = cli(bare, "plan", *AZURE)

    assert done.code == 4
    assert "would be refused: cluster: no cluster 'x'; make it" in done.err


def test_an_offline_plan_asks_nobody(bare: Path, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azureml_online, "answers", lambda _: pytest.fail("asked the service"))
    write(bare, {"main.py": ""})
    done = cli(bare, "plan", *AZURE[:-1], "--json")

    assert done.code == 0
    assert "online" not in json.loads(done.out)
    assert len(json.loads(done.out)["plans"][0]["not_asked"]) == 3


def test_a_run_here_has_nobody_to_ask(bare: Path, cli: Callable[..., Outcome]) -> None:
    write(bare, {"main.py": ""})
    done = cli(bare, "plan", "code.script=main.py", "--online", "--json")

    assert done.code == 0
    assert json.loads(done.out)["online"][0]["answers"] == []


def test_another_target_is_not_asked(make_plan: MakePlan) -> None:
    [[said]] = asking.answers([make_plan(target="azureml_v2")])

    assert (said.standing, asking.exit_code([[said]])) == (Standing.NOT_ASKED, 0)
