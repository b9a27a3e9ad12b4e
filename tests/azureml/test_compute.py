"""Get-or-create: only a cluster that is really not there is made, and what cannot be changed is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import TargetError
from runner.targets import azureml_compute
from runner.targets.azureml_compute import differences, find, provisioning, ready, reconcile, seconds_of
from runner.targets.azureml_workspace import Service
from tests.azureml.conftest import ComputeTargetError

ASKED = {
    "name": "cpu",
    "create": True,
    "vm_size": "Standard_DS3_v2",
    "priority": "dedicated",
    "min_nodes": 0,
    "max_nodes": 2,
    "idle_seconds": 600,
}


class Cluster:
    """A cluster that remembers how it was changed."""

    def __init__(self, **settings: Any) -> None:
        values = {
            "size": "STANDARD_DS3_V2",
            "priority": "Dedicated",
            "least": 0,
            "most": 2,
            "idle": "PT10M",
            **settings,
        }
        self.name, self.vm_size, self.vm_priority = "cpu", values["size"], values["priority"]
        self.scale_settings = SimpleNamespace(
            minimum_node_count=values["least"],
            maximum_node_count=values["most"],
            idle_seconds_before_scaledown=values["idle"],
        )
        self.updates: list[dict[str, Any]] = []

    def update(self, **changes: Any) -> None:
        self.updates.append(changes)


@pytest.fixture
def answer_with(fake_module: Callable[..., None]) -> Callable[[Any], None]:
    """Let `ComputeTarget(workspace, name)` return or raise this."""

    def answer(found: Any) -> None:
        def compute_target(workspace: Any, name: str) -> Any:
            if isinstance(found, Exception):
                raise found
            return found

        fake_module("azureml.core.compute", ComputeTarget=compute_target)
        fake_module("azureml.exceptions", ComputeTargetException=ComputeTargetError)

    return answer


def test_a_cluster_that_is_there_is_used(service: Service, answer_with: Callable[[Any], None]) -> None:
    cluster = Cluster()
    answer_with(cluster)

    assert ready(service, ASKED) is cluster
    assert cluster.updates == []


def test_only_a_real_not_found_leads_to_creation(
    service: Service, answer_with: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(azureml_compute, "made", lambda service, asked: made.append(asked) or "new")
    answer_with(ComputeTargetError("ComputeTargetNotFound: Compute Target with name cpu not found"))

    assert ready(service, ASKED) == "new"
    assert made == [ASKED]


@pytest.mark.parametrize("code", [401, 403, 409, 429, 500, 503])
def test_a_refusal_never_leads_to_creation(
    code: int, service: Service, answer_with: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_compute, "made", lambda *_: pytest.fail("made a cluster"))
    answer_with(ComputeTargetError(f"Received bad response from Resource Provider:\nResponse Code: {code}"))

    with pytest.raises(TargetError, match=f"cannot ask for the cluster 'cpu': .*Response Code: {code}"):
        ready(service, ASKED)


def test_a_mistake_of_ours_is_no_answer_of_the_service(service: Service, answer_with: Callable[[Any], None]) -> None:
    answer_with(AttributeError("typo"))

    with pytest.raises(AttributeError, match="typo"):
        find(service, "cpu")


def test_without_create_what_there_is_gets_listed(service: Service, answer_with: Callable[[Any], None]) -> None:
    service.workspace.compute_targets = {"gpu": None, "big": None}
    answer_with(ComputeTargetError("ComputeTargetNotFound: no"))

    with pytest.raises(TargetError, match="no cluster 'cpu' in workspace 'ws'; there are: 'gpu', 'big'"):
        ready(service, {**ASKED, "create": False})


def test_an_existing_cluster_is_never_changed_without_create(
    service: Service, answer_with: Callable[[Any], None]
) -> None:
    cluster = Cluster(most=9)
    answer_with(cluster)

    ready(service, {"name": "cpu", "create": False, "max_nodes": 2})
    assert cluster.updates == []


@pytest.mark.parametrize("kind", ["ComputeInstance", "Kubernetes"])
def test_a_target_of_another_kind_is_not_taken_for_a_cluster(
    kind: str, service: Service, answer_with: Callable[[Any], None]
) -> None:
    answer_with(SimpleNamespace(name="cpu", type=kind))

    with pytest.raises(TargetError, match=f"'cpu' is no AmlCompute cluster, but {kind}; name another one"):
        ready(service, ASKED)


def test_what_azure_can_change_is_changed_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(most=4, idle="PT30M")
    reconcile(cluster, ASKED)

    assert cluster.updates == [{"max_nodes": 2, "idle_seconds_before_scaledown": 600}]
    said = capsys.readouterr()
    assert "cluster 'cpu' has max_nodes 4, compute.max_nodes says 2; changing it" in said.err
    assert "has idle_seconds 1800" in said.err
    assert said.out == ""


def test_what_azure_cannot_change_is_said_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(size="STANDARD_NC6", priority="LowPriority")
    reconcile(cluster, ASKED)

    assert cluster.updates == []
    said = capsys.readouterr().err
    assert "has vm_size STANDARD_NC6, compute.vm_size says Standard_DS3_v2; it stays" in said
    assert "compute.priority says dedicated; it stays" in said


def test_what_the_yaml_does_not_say_is_no_difference() -> None:
    assert differences(Cluster(most=9), {"name": "cpu", "vm_size": None}) == []


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("PT120S", 120),
        ("PT10M", 600),
        ("PT1H30M", 5400),
        ("P1D", 86400),
        ("PT0.5S", 0),
        (timedelta(minutes=2), 120),
        (300, 300),
        (None, None),
    ],
)
def test_idle_times_are_read_in_every_form(duration: Any, seconds: int | None) -> None:
    assert seconds_of(duration) == seconds


def test_a_cluster_is_asked_for_word_for_word() -> None:
    asked = {
        **ASKED,
        "vnet": {"resource_group": "net", "name": "vnet", "subnet": "default"},
        "identity": {"kind": "user_assigned", "ids": ["/id"]},
        "ssh": {"user": "me", "public_key": "ssh-ed25519 A", "public_port": "disabled"},
        "node_public_ip": False,
        "tags": {"team": "x"},
        "location": "westeurope",
    }
    settings = provisioning(asked)

    assert (settings["vm_size"], settings["max_nodes"], settings["min_nodes"]) == ("Standard_DS3_v2", 2, 0)
    assert settings["idle_seconds_before_scaledown"] == 600
    assert (settings["vnet_resourcegroup_name"], settings["vnet_name"], settings["subnet_name"]) == (
        "net",
        "vnet",
        "default",
    )
    assert (settings["identity_type"], settings["identity_id"]) == ("UserAssigned", ["/id"])
    assert (settings["admin_username"], settings["admin_user_ssh_key"]) == ("me", "ssh-ed25519 A")
    assert settings["remote_login_port_public_access"] == "Disabled"
    assert settings["enable_node_public_ip"] is False
    assert settings["tags"] == {"team": "x"}
    assert settings["location"] == "westeurope"


def test_what_is_not_asked_for_is_azures_default() -> None:
    settings = provisioning({"name": "cpu", "vm_size": "Standard_DS3_v2", "max_nodes": 1})

    assert settings["vm_priority"] == "dedicated"
    assert settings["identity_type"] is None
    assert settings["remote_login_port_public_access"] == "NotSpecified"
    assert settings["enable_node_public_ip"] is True
