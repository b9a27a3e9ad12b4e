"""What looks like a mistake and is none: for each rule, values next to wrong ones of which nothing may be said.

A false alarm costs more than a missed one: people stop reading. The last column of a table is what is found, '' mostly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from runner.finding import Finding
from runner.resources import packaged
from runner.rules import compute, conda, distribution, env, inputs, limits, register, secret, sweep, tags, workspace
from tests.conftest import write

PROJECT = packaged("configs").parent
CLUSTER = {"kind": "amlcompute", "name": "gpu", "vm_size": "Standard_NC64as_T4_v3", "max_nodes": 4}
CPU = {**CLUSTER, "vm_size": "Standard_DS3_v2"}
TRAIN = {"root": ".", "module": "train"}
BASE = "FROM mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:1\n"


def found(rule: Callable[..., Iterable[Finding]], project: Path = PROJECT, /, **values: Any) -> str:
    return " ".join(f"{finding.severity} {'.'.join(finding.path)}" for finding in rule(values, project))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("auto", ""),
        (None, ""),
        ("nvcr.io/nvidia/pytorch:24.01-py3", ""),
        ("host:5000/x:2", ""),
        ("x@sha256:ab", ""),
        ("x:latest@sha256:ab", ""),
        ("mcr.microsoft.com/azureml/curated/openmpi3:1", ""),
        ("mine.azurecr.io/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:1", ""),
        ("x:latest-gpu", ""),
        ("x:latest", "warning env.image"),
        ("host:5000/x", "warning env.image"),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:1", "warning env.image"),
    ],
)
def test_images(image: str | None, expected: str) -> None:
    assert found(env.images, compute=CLUSTER, env={"image": image}) == expected
    assert found(env.images, compute={"kind": "local"}, env={"image": image}) == ""


@pytest.mark.parametrize(
    ("requirement", "pinned"),
    [
        *((text, True) for text in ("a==1", "a == 1", "a[b]==1", "a>=1,<2", "a~=1.0", "a!=1", "a===1", "A_b.c==1.0.*")),
        *((text, True) for text in ("a @ https://x/y.whl", "git+https://x/y@v1", "./pkg", "../pkg", "/abs/pkg")),
        *((text, True) for text in ("pkg-1.0-py3-none-any.whl", "pkg.tar.gz", "pkg.zip", "https://x/y.whl")),
        *((text, True) for text in ("-r x.txt", "--extra-index-url https://x", "-e .", "a==1; python_version > '3'")),
        *((text, False) for text in ("a", "a[b]", "a[b,c]", "A.B-c_d", " a ", "whl", "a.whl2")),
    ],
)
def test_pip(requirement: str, pinned: bool, tmp_path: Path) -> None:
    said = "" if pinned else "warning env.pip.0"
    assert found(env.pip, compute=CLUSTER, env={"pip": [requirement]}) == said
    listed = f"dependencies:\n- python=3.11\n- pip\n- pip:\n  - azureml-core==1\n  - {requirement!r}\n"
    write(tmp_path, {"c.yml": listed})
    assert [line for _, line in conda.lint_file(tmp_path / "c.yml")] == ([] if pinned else [6])


@pytest.mark.parametrize(
    ("python", "said"),
    [
        *((text, "") for text in ("python=3.11", "python==3.11.4", "python =3.12", "python 3.13", "python=3.11.*")),
        *((text, "") for text in ("python>=3.11,<3.12", "python>=3.8,<3.13", "python>3.6,<=3.11", "python=3.12=h1_0")),
        *((text, "") for text in ("conda-forge::python=3.11", "conda-forge/linux-64::python=3.11", "Python=3.11")),
        *((text, "is not pinned") for text in ("python", "python=3", "python>=3.8", "python!=3.9", "python<3.12")),
        *(
            (text, "no security fixes")
            for text in ("python=3.8", "python 3.9.1", "python>=3.6,<3.9", "python>3,<=3.10")
        ),
        *((text, "no python:") for text in ("python-dateutil=3.11", "pythonnet=3.11", "cpython=3.11")),
    ],
)
def test_python_of_a_conda_file(python: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, {"c.yml": f"dependencies:\n- '{python}'\n- pip\n- pip: [azureml-mlflow==1]\n"})
    messages = [finding.message for finding, _ in conda.lint_file(tmp_path / "c.yml")]
    assert len(messages) == bool(said)
    assert said in "".join(messages)


@pytest.mark.parametrize(
    "dependencies",
    [
        "[python=3.11, azureml-sdk=1]",
        "[python=3.11, pip, {pip: [azureml_core==1]}]",
        "[python=3.11, pip=24.0, {pip: [azureml-mlflow==1]}, {pip: [b==1]}]",
        "[python=3.11, conda-forge::pip, {pip: [-r more.txt]}]",
        "[python=3.11, pip, {pip: ['azureml-defaults[x]==1']}, numpy]",
    ],
)
def test_conda_files_that_are_right(dependencies: str, tmp_path: Path) -> None:
    write(tmp_path, {"c.yml": f"dependencies: {dependencies}\n"})
    assert list(conda.lint_file(tmp_path / "c.yml")) == []


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        (BASE + "RUN pip install torch hydra-core omegaconf\n", ""),
        (BASE + "RUN pip install 'torch==2.1' \"hydra-core[x]\" omegaconf>=2 && ls\n", ""),
        (BASE + "RUN pip install Torch Hydra_Core OmegaConf\n", ""),
        *(
            (BASE + f"RUN pip install {what}\n", "")
            for what in ("-r x.txt", "-rx.txt", "--requirement=x", ".", "-e .[dev]")
        ),
        *((BASE + f"RUN conda env {what}\n", "") for what in ("create -f environment.yml", "update --file env.yaml")),
        *((BASE + f"RUN {what}\n", "") for what in ("poetry install", "uv sync --frozen")),
        ("FROM python:3.11\nRUN pip install x\n", ""),  # it may hold anything
        ("from python:3.11\n", ""),
        ("ARG BASE=x\nFROM ${BASE}\n", ""),
        ("FROM --platform=linux/amd64 pytorch/pytorch:2.1\n", ""),
        (BASE + "RUN pip install numpy\n", "warning env.dockerfile"),
        (BASE + "RUN rm -rf /tmp/x\n", "warning env.dockerfile"),
        (BASE.replace("FROM", "FROM --platform=linux/amd64") + "RUN ls\n", "warning env.dockerfile"),
        (BASE + "RUN pip install pytorch-lightning hydra-core omegaconf\n", "warning env.dockerfile"),
    ],
)
def test_dockerfiles(dockerfile: str, expected: str, tmp_path: Path) -> None:
    write(tmp_path, {"D": dockerfile})
    image = {"kind": "dockerfile", "dockerfile": "D"}
    assert found(env.what_training_needs, tmp_path, code=TRAIN, compute=CLUSTER, env=image) == expected
    for code in ({"module": "mine"}, {"module": "train", "script": "a.py"}, {"module": "train", "command": "ls"}):
        assert found(env.what_training_needs, tmp_path, code=code, compute=CLUSTER, env=image) == ""


@pytest.mark.parametrize(
    ("text", "secret_like"),
    [
        *(
            (text, False)
            for text in ("https://me@h/x", "git@github.com:o/r.git", "https://h:8080/p", "a:b@c", "h:p@x/y")
        ),
        *((text, False) for text in ("Bearer of bad news", "Basic training of models", "sig=", "?token=", "token=abc")),
        *((text, False) for text in ("sha256:" + "a" * 64, "0" * 40, "eyJhbGciOi", "AccountKey=", "hf_hub", "ghp_x")),
        *(
            (text, False)
            for text in ("${oc.env:KEY}", "optimizer.lr=0.1", "-----BEGIN CERTIFICATE-----", "s3://b/k?x=1")
        ),
        *(
            (text, True)
            for text in ("https://me:hunter2@h", "postgres://u:p@h/db", "http://h/?sig=abc", "AccountKey=abc")
        ),
        *((text, True) for text in ("http://h/?x=1&access_token=abc", "Bearer abcdefghijklmnop")),
    ],
)
def test_secrets(text: str, secret_like: bool) -> None:
    values = {"tags": {"a": [text], "b": {"c": text}}}
    assert found(secret.values, **values) == ("error tags.a.0 error tags.b.c" if secret_like else "")


@pytest.mark.parametrize(
    ("path", "right"),
    [
        *(
            (path, True)
            for path in ("outputs/a", "./outputs/a", "outputs//a", "outputs/a/b.pt", "outputs/..a", "outputs/a..b")
        ),
        *(
            (path, False)
            for path in ("outputs", "outputs/", "output/a", "/outputs/a", "Outputs/a", "outputs/../a", "a")
        ),
    ],
)
def test_what_is_registered_lies_under_outputs(path: str, right: bool) -> None:
    assert found(register.path, register={"path": path}) == ("" if right else "error register.path")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        *(
            (text, True)
            for text in ("input:photos", "xinput:b", "the input:zz", "Input:b", "inputs:b", "input", " input:b")
        ),
        *((text, False) for text in ("input:", "input: photos", "input:photos/sub", "input:Photos")),
    ],
)
def test_references_to_inputs(text: str, known: bool) -> None:
    values = {"inputs": {"photos": {}}, "code": {"arguments": {"x": text}}, "data": {"a": [text]}}
    assert found(inputs.references, **values) == ("" if known else "error code.arguments.x error data.a.0")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": "https://x/y"}, ""),
        ({"path": "."}, ""),
        ({"path": "runner/spec.py"}, ""),
        ({"path": "~"}, ""),
        ({"path": "/"}, ""),
        ({"datastore": "d", "path": "gone"}, ""),
        ({}, ""),
        ({"path": "gone"}, "error inputs.a.path"),
        ({"path": "~gone/x"}, "error inputs.a.path"),
    ],
)
def test_files_of_inputs_here(given: dict[str, str], expected: str) -> None:
    assert found(inputs.files, compute={"kind": "local"}, inputs={"a": given}) == expected
    assert found(inputs.files, compute=CLUSTER, inputs={"a": given}) == ""


@pytest.mark.parametrize(
    ("values", "sampler", "right"),
    [
        *(
            (values, "grid", True)
            for values in ("1,2", "choice(1,2)", "range(3)", "'interval(0,1)'", "interval", [0], 0, False)
        ),
        ("interval(0,1)", "random", True),
        *((values, "grid", False) for values in ("interval(0,1)", " interval(0, 1)", "tag(a,interval(0,1))", "", [])),
        ([], "random", False),
    ],
)
def test_values_of_a_sweep(values: Any, sampler: str, right: bool) -> None:
    given = {"sampler": sampler, "params": {"trainer.lr": values}}
    assert found(sweep.values, sweep=given) == ("" if right else "error sweep.params.trainer.lr")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(
            (name, True)
            for name in ("model", "/model", "model@teacher", "optimizer.lr", "seed", "trainer.epochs", "env")
        ),
        *((name, True) for name in ("+anything", "++a.b", "~model", "optimizer.custom", "tags.mine")),
        *((name, False) for name in ("modle", "optimizer.lrr", "sead", "nothing.at.all", "optimizer.lr.x")),
    ],
)
def test_names_of_a_sweep(name: str, known: bool) -> None:
    values = {"sweep": {"params": {name: "1,2"}}, "optimizer": {"lr": 1, "custom": 2}, "tags": {"mine": "x"}}
    assert bool(found(sweep.names, **values)) == (not known)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (compute.reserved_name, {"compute": {**CLUSTER, "name": "localhost-1"}}),
        (compute.reserved_name, {"compute": {"kind": "local", "name": "local"}}),
        (compute.what_creating_needs, {"compute": {**CLUSTER, "create": True}}),
        (compute.what_creating_needs, {"compute": {"kind": "amlcompute", "create": True}}),  # said by the schema
        (compute.node_counts, {"compute": {**CLUSTER, "min_nodes": None}}),
        (compute.node_counts, {"compute": {**CLUSTER, "min_nodes": 0, "max_nodes": 0}}),
        (compute.known_size, {"compute": {**CLUSTER, "vm_size": "standard_nc64AS_t4_v3"}}),
        (compute.known_size, {"compute": {"kind": "local", "vm_size": "x"}}),
        (compute.network, {"compute": {**CLUSTER, "node_public_ip": True, "vnet": None}}),
        (compute.login, {"compute": {**CLUSTER, "ssh": {"user": None}}}),
        (compute.login, {"compute": {**CLUSTER, "ssh": None, "identity": None}}),
        (compute.login, {"compute": {"identity": {"kind": "user_assigned", "ids": ["a"]}}}),
        (distribution.fits_cluster, {"compute": {**CLUSTER, "max_nodes": None}, "distribution": {"nodes": 99}}),
        (distribution.fits_gpus, {"compute": CLUSTER, "distribution": {"kind": "mpi", "processes_per_node": 4}}),
        (distribution.fits_gpus, {"compute": {**CLUSTER, "vm_size": "x"}, "distribution": {"processes_per_node": 99}}),
        (distribution.fits_gpus, {"compute": {"kind": "local"}, "distribution": {"processes_per_node": 99}}),
        (distribution.fits_gpus, {"compute": CPU, "distribution": {"kind": "mpi", "processes_per_node": 4}}),
        (distribution.backend_fits, {"compute": {"kind": "local"}, "distribution": {"backend": "nccl"}}),
        (distribution.backend_fits, {"compute": CLUSTER, "distribution": {"backend": "auto"}}),
        (env.reserved_name, {"env": {"kind": "conda", "name": "my-azureml"}}),
        (env.curated, {"compute": CLUSTER, "env": {"kind": "curated", "name": "azureml-X", "version": "latest-1"}}),
        (env.curated, {"compute": {"kind": "local"}, "env": {"kind": "curated", "name": "x", "version": None}}),
        (env.variables, {"env": {"variables": {"MY_RANK": "1", "RANKS": "1", "amlrun_x": "1"}}}),
        (env.shared_memory, {"compute": CLUSTER, "env": {"shm_size": "4g"}, "data": {"workers": 8}}),
        (env.shared_memory, {"compute": CLUSTER, "env": {"shm_size": "4096m"}, "data": {"num_workers": 8}}),
        (env.shared_memory, {"compute": CLUSTER, "env": {"shm_size": None}, "data": {"workers": 8}}),
        (inputs.complete, {"compute": CLUSTER, "inputs": {"a": {"dataset": "d", "version": 1}}}),
        (inputs.names, {"inputs": {"paths": {}, "user_name": {}}}),
        (limits.duration, {"compute": CLUSTER, "limits": {"max_minutes": 21 * 24 * 60}}),
        (limits.duration, {"compute": CLUSTER, "limits": {"max_minutes": None}}),
        (limits.duration, {"compute": {"kind": "local"}, "limits": {"max_minutes": 10**6}}),
        (
            sweep.enough,
            {"sweep": {"sampler": "random", "max_total": 3, "max_concurrent": 3, "policy": {"kind": "none"}}},
        ),
        (sweep.enough, {"sweep": None}),
        (sweep.policy, {"sweep": {"policy": {"kind": "bandit", "slack_factor": None, "slack_amount": 0.1}}}),
        (tags.reserved, {"tags": {"amlrun": "x", "my.amlrun.x": "y"}}),
        (workspace.names, {"compute": CLUSTER, "workspace": {"kind": "azureml", "config": "c", "name": None}}),
        (workspace.names, {"compute": CLUSTER, "workspace": {"kind": "emulator", "name": "x"}}),
        (workspace.login, {"compute": CLUSTER, "workspace": {"auth": {"kind": "token", "secret": "NAME"}}}),
        (workspace.login, {"compute": {"kind": "local"}, "workspace": {"auth": {"kind": "interactive"}}}),
    ],
)
def test_nothing_is_said_of(rule: Any, values: dict[str, Any]) -> None:
    assert found(rule, **values) == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}', ""),
        ('{"Scope": "/subscriptions/s/resourceGroups/r"}', ""),
        ('{"subscription_id": "s", "resource_group": "r", "workspace_name": "w", "more": 1}', ""),
        ('{"subscription_id": "s", "resource_group": "", "workspace_name": "w"}', "error workspace.config"),
        ("[]", "error workspace.config"),
        ("{", "error workspace.config"),
    ],
)
@pytest.mark.parametrize("name", ["ws/config.json", "ws/.azureml/config.json", "ws/aml_config/config.json"])
def test_the_workspaces_file_is_found_where_the_sdk_finds_it(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    write(tmp_path, {name: content})
    for config in ("ws", *(["ws/config.json"] if name == "ws/config.json" else [])):
        values = {"compute": CLUSTER, "workspace": {"kind": "azureml", "config": config}}
        assert found(workspace.config_file, tmp_path, **values) == expected
