"""Environments: a row for each kind, the same content is the same version, and a version is registered once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import history
from runner.errors import TargetError
from runner.images import CPU_IMAGE, CUDA_IMAGE
from runner.resources import packaged
from runner.spec import Plan
from runner.targets.azureml_environment import (
    KINDS,
    AbsentError,
    environment_of,
    known_version,
    listed,
    looked_up,
    wanted_by,
    wanted_of,
)
from runner.targets.azureml_workspace import Service
from tests.azureml.conftest import MakePlan

PASSWORD = "hunter2"


class Conda:
    def __init__(self, text: str) -> None:
        self.lines = [text]

    def add_pip_package(self, package: str) -> None:
        self.lines.append(package)

    def serialize_to_string(self) -> str:
        return "\n".join(self.lines)


class Environment:
    """The part of the SDK's class that is used. `known` is what the workspace has."""

    known: dict[tuple[str, str | None], Environment]
    registered: list[str]

    def __init__(self, name: str) -> None:
        self.name, self.version = name, None
        self.environment_variables = {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}
        self.python = SimpleNamespace(
            user_managed_dependencies=False, interpreter_path="python", conda_dependencies=Conda("")
        )
        registry = SimpleNamespace(address=None, username=None, password=None)
        self.docker = SimpleNamespace(base_image="default", base_dockerfile=None, base_image_registry=registry)

    @classmethod
    def get(cls, workspace: Any, name: str, version: str | None = None) -> Environment:
        if (name, version) not in cls.known:
            raise Exception(f"Error retrieving the environment definition. Code: 404\n{name}")
        return cls.known[name, version]

    @classmethod
    def from_conda_specification(cls, name: str, file_path: str) -> Environment:
        made = cls(name)
        made.python.conda_dependencies = Conda(Path(file_path).read_text())
        return made

    @classmethod
    def from_dockerfile(cls, name: str, dockerfile: str, conda_specification: str | None = None) -> Environment:
        made = cls.from_conda_specification(name, conda_specification) if conda_specification else cls(name)
        made.docker.base_image, made.docker.base_dockerfile = None, dockerfile
        return made

    def clone(self, new_name: str) -> Environment:
        made = type(self)(new_name)
        made.python, made.docker = self.python, self.docker
        return made

    @classmethod
    def list(cls, workspace: Any) -> dict[str, Environment]:
        return {name: item for (name, _), item in cls.known.items()}

    def register(self, workspace: Any) -> Environment:
        self.registered.append(f"{self.name}:{self.version}")
        self.known[self.name, self.version] = self
        return self


@pytest.fixture(autouse=True)
def sdk(fake_module: Callable[..., None]) -> type[Environment]:
    Environment.known, Environment.registered = {}, []
    curated = Environment("AzureML-acpt")
    curated.python.user_managed_dependencies = True
    curated.docker.base_image, curated.version = "acpt", "17"
    Environment.known["AzureML-acpt", "17"] = curated
    fake_module("azureml.core", Environment=Environment)
    return Environment


@pytest.fixture
def plan_for(make_plan: MakePlan, tmp_path: Path) -> Callable[..., Plan]:
    """A plan with this environment, and the files that it may name."""
    (tmp_path / "conda.yml").write_text("dependencies: [python=3.11]\n")
    (tmp_path / "Dockerfile").write_text("FROM base:1\n")

    def plan(vm_size: str | None = "Standard_DS3_v2", **env: Any) -> Plan:
        made = make_plan(id=f"run-{len(history.run_ids(tmp_path))}")
        return replace(made, config={**made.config, "env": env, "compute": {"name": "c", "vm_size": vm_size}})

    return plan


def test_every_kind_of_the_schema_has_a_row() -> None:
    schema = json.loads((packaged("schemas") / "env.schema.json").read_text())

    assert set(KINDS) == set(schema["$defs"]["partial"]["properties"]["kind"]["enum"])


def test_unchanged_is_registered_once(service: Service, plan_for: Callable[..., Plan], sdk: type[Environment]) -> None:
    made = [environment_of(service, plan_for(kind="auto", conda_file="conda.yml", image="auto")) for _ in range(3)]

    assert len(sdk.registered) == 1
    assert {item.version for item in made} == {made[0].version}
    assert made[0].environment_variables == {}


def test_any_change_is_another_version(
    service: Service, plan_for: Callable[..., Plan], sdk: type[Environment], tmp_path: Path
) -> None:
    asked = {"kind": "conda", "name": "mine", "conda_file": "conda.yml", "image": "auto"}
    environment_of(service, plan_for(**asked))
    environment_of(service, plan_for(**asked, pip=["einops==0.8"]))
    environment_of(service, plan_for(**{**asked, "image": "other:1"}))
    (tmp_path / "conda.yml").write_text("dependencies: [python=3.12]\n")
    environment_of(service, plan_for(**asked))

    assert len(set(sdk.registered)) == len(sdk.registered) == 4
    assert all(name.startswith("mine:") for name in sdk.registered)


@pytest.mark.parametrize(
    ("vm_size", "image"), [("Standard_DS3_v2", CPU_IMAGE), ("Standard_NC4as_T4_v3", CUDA_IMAGE), (None, CUDA_IMAGE)]
)
def test_the_image_fits_the_size(vm_size: str | None, image: str, plan_for: Callable[..., Plan]) -> None:
    assert wanted_by(plan_for(vm_size, kind="auto", conda_file="conda.yml", image="auto")).image == image


def test_files_of_the_staged_code_come_first(plan_for: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_for(kind="auto", conda_file="conda.yml")
    assert wanted_by(plan).file("conda_file") == tmp_path / "conda.yml"

    staged = history.snapshot_dir(tmp_path, plan.snapshot.digest) / "conda.yml"
    staged.write_text("dependencies: []\n")
    assert wanted_by(plan).file("conda_file") == staged


def test_a_file_that_is_gone_is_named(service: Service, plan_for: Callable[..., Plan]) -> None:
    with pytest.raises(TargetError, match=r"env.conda_file: no file 'gone.yml'"):
        environment_of(service, plan_for(kind="auto", conda_file="gone.yml"))


def test_a_curated_one_is_used_as_it_is(
    service: Service, plan_for: Callable[..., Plan], sdk: type[Environment]
) -> None:
    made = environment_of(service, plan_for(kind="curated", name="AzureML-acpt", version="17"))

    assert made is sdk.known["AzureML-acpt", "17"]
    assert sdk.registered == []


def test_packages_on_a_curated_image_go_into_the_image(service: Service, plan_for: Callable[..., Plan]) -> None:
    made = environment_of(
        service, plan_for(kind="clone", name="mine", clone_of="AzureML-acpt", version="17", pip=["a==1", "b==2"])
    )

    assert made.name == "mine"
    assert made.docker.base_dockerfile == "FROM acpt\nRUN pip install --no-cache-dir a==1 b==2\n"


def test_a_curated_one_without_an_image_cannot_be_built_on(
    service: Service, plan_for: Callable[..., Plan], sdk: type[Environment]
) -> None:
    sdk.known["AzureML-acpt", "17"].docker.base_image = None

    with pytest.raises(TargetError, match="has no image to build on; use env=image"):
        environment_of(service, plan_for(kind="clone", name="m", clone_of="AzureML-acpt", version="17", pip=["a==1"]))


def test_an_image_keeps_its_own_python(service: Service, plan_for: Callable[..., Plan]) -> None:
    made = environment_of(service, plan_for(kind="image", name="i", image="r.io/train:1", python="/opt/bin/python"))

    assert made.docker.base_image == "r.io/train:1"
    assert (made.python.user_managed_dependencies, made.python.interpreter_path) == (True, "/opt/bin/python")


def test_a_registrys_password_comes_from_the_shell_and_decides_no_version(
    service: Service, plan_for: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = {"address": "r.io", "username": "me", "password_secret": "REGISTRY_KEY"}
    monkeypatch.setenv("REGISTRY_KEY", PASSWORD)
    first = environment_of(service, plan_for(kind="image", name="i", image="r.io/a:1", registry=registry))
    monkeypatch.setenv("REGISTRY_KEY", "another")
    again = environment_of(service, plan_for(kind="image", name="i", image="r.io/a:1", registry=registry))

    assert first.docker.base_image_registry.password == PASSWORD
    assert again is first


def test_a_dockerfile_goes_as_its_text(service: Service, plan_for: Callable[..., Plan]) -> None:
    alone = environment_of(service, plan_for(kind="dockerfile", name="d", dockerfile="Dockerfile", conda_file=None))
    both = environment_of(
        service, plan_for(kind="dockerfile", name="d", dockerfile="Dockerfile", conda_file="conda.yml")
    )

    assert alone.docker.base_dockerfile == both.docker.base_dockerfile == "FROM base:1\n"
    assert (alone.python.user_managed_dependencies, both.python.user_managed_dependencies) == (True, False)
    assert alone.version != both.version


@pytest.mark.parametrize("env", [{"kind": "image", "name": "i", "image": "a:1"}, {"kind": "curated", "name": "c"}])
@pytest.mark.parametrize("code", [401, 403, 429, 500])
def test_a_refusal_is_no_not_found(
    code: int,
    env: dict[str, Any],
    service: Service,
    plan_for: Callable[..., Plan],
    sdk: type[Environment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its text may well say that something was not found."""

    def refuse(workspace: Any, name: str, version: str | None = None) -> Any:
        raise Exception(
            f"Error retrieving the environment definition. Code: {code}\n: principal 404 NotFound not found"
        )

    monkeypatch.setattr(sdk, "get", refuse)
    with pytest.raises(TargetError, match=rf"^cannot ask for the environment .* {code}") as raised:
        environment_of(service, plan_for(**env))
    assert not isinstance(raised.value, AbsentError)
    assert sdk.registered == []


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"name": "AzureML-acp", "version": "17"},
            "no environment 'AzureML-acp' in workspace 'ws'; did you mean 'AzureML-acpt'",
        ),
        ({"name": "zzz", "version": None}, "no environment 'zzz' in workspace 'ws'; 'amlrun env list' shows"),
        ({"name": "AzureML-acpt", "version": "99"}, "'AzureML-acpt' with version '99' .*; the newest is '17'"),
        ({"kind": "clone", "name": "m", "clone_of": "AzureML-no", "version": "1"}, "no environment 'AzureML-no'"),
    ],
)
def test_one_that_is_not_there_is_named_with_what_is(
    env: dict[str, Any], said: str, service: Service, plan_for: Callable[..., Plan]
) -> None:
    with pytest.raises(AbsentError, match=said):
        environment_of(service, plan_for(**{"kind": "curated", **env}))


def test_a_refused_registration_is_no_traceback(
    service: Service, plan_for: Callable[..., Plan], sdk: type[Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Environment, workspace: Any) -> Any:
        raise Exception("Error registering the environment definition. Code: 403\n: no")

    monkeypatch.setattr(sdk, "register", refuse)
    with pytest.raises(TargetError, match=r"the environment 'i' cannot be registered: Error registering .* 403"):
        environment_of(service, plan_for(kind="image", name="i", image="a:1"))


def test_a_mistake_of_ours_is_no_refusal(
    service: Service, sdk: type[Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "get", lambda *_, **__: {}["typo"])

    with pytest.raises(KeyError, match="typo"):
        known_version(service, "x", None)


def test_looking_registers_nothing(service: Service, plan_for: Callable[..., Plan], sdk: type[Environment]) -> None:
    made, known = looked_up(service, wanted_by(plan_for(kind="image", name="i", image="a:1")))
    assert (known, sdk.registered) == (None, [])

    assert environment_of(service, plan_for(kind="image", name="i", image="a:1")).version == made.version


def test_own_ones_are_listed_before_azures(service: Service, plan_for: Callable[..., Plan]) -> None:
    made = environment_of(service, plan_for(kind="image", name="zebra", image="a:1"))

    assert listed(service) == [
        {"name": "zebra", "version": made.version, "curated": False},
        {"name": "AzureML-acpt", "version": "17", "curated": True},
    ]


def test_before_the_code_is_staged_files_are_looked_for_under_its_root_and_among_amlruns_own(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "conda.yml").write_text("")
    shipped = "configs/env/files/conda.yml"
    config = {"compute": {}, "env": {"conda_file": "conda.yml", "dockerfile": shipped}, "code": {"root": "src"}}
    wanted = wanted_of(config, tmp_path)

    assert wanted.file("conda_file") == tmp_path / "src" / "conda.yml"
    assert wanted.file("dockerfile") == packaged("configs").parent / shipped
