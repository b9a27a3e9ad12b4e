"""Each rule fires where it should, stays silent where it should, and bears the absence of any key."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.resources import packaged
from runner.rules import (
    RULES,
    code,
    compute,
    conda,
    distribution,
    env,
    export,
    inputs,
    limits,
    register,
    secret,
    sweep,
    tags,
    workspace,
)
from runner.rules.read import processes_per_node
from runner.signatures import check_targets

PROJECT = packaged("configs").parent
CLUSTER = {"kind": "amlcompute", "name": "gpu", "vm_size": "Standard_NC64as_T4_v3", "max_nodes": 4}
CPU = {**CLUSTER, "vm_size": "Standard_DS3_v2"}
LOW = {**CLUSTER, "priority": "lowpriority"}
HERE = {"kind": "local"}
# Of a script that trains without our packages.
OTHER = {"kind": "auto", "conda_file": "tests/emulator/tutorial/conda_dependencies.yml", "image": "auto", "pip": []}
CONDA = {"kind": "auto", "conda_file": "configs/env/files/conda.yml", "image": "auto", "pip": []}
TRAIN = {"root": ".", "module": "train", "script": None, "command": None}
SCRIPT = {"root": ".", "module": "train", "script": "runner/spec.py", "command": None}
EXPORTS = {"code": TRAIN, "compute": CLUSTER, "export": {"onnx": True}}
HOROVOD = {**SCRIPT, "root": "tests/configs", "script": "invalid/script-imports-horovod/script-imports-horovod.py"}
SILENT = {**SCRIPT, "script": "runner/errors.py"}
WRITES = {**SCRIPT, "script": "train/__main__.py"}  # the module that it imports names outputs
PYTORCH = {"kind": "pytorch", "nodes": 1, "processes_per_node": "auto", "backend": "auto"}
NAMED = {"kind": "azureml", "subscription_id": "s", "resource_group": "r", "name": "n"}
GRID = {"sampler": "grid", "params": {"seed": "1,2"}}
STOPPING: dict[str, Any] = {"code": TRAIN, "compute": {"kind": "amlcompute"}, "sweep": {"policy": {"kind": "median"}}}

# rule, values, paths of what it finds. Where it finds nothing the values are the valid neighbour of the row above.
ROWS: list[tuple[Any, dict[str, Any], list[str]]] = [
    (compute.reserved_name, {"compute": {**CLUSTER, "name": "Local"}}, ["compute.name"]),
    (compute.reserved_name, {"compute": CLUSTER}, []),
    (compute.long_name, {"compute": {**CLUSTER, "name": "a" * 17}}, ["compute.name"]),
    (compute.long_name, {"compute": {**CLUSTER, "name": "a" * 16}}, []),
    (compute.what_creating_needs, {"compute": {**CLUSTER, "create": True, "vm_size": None}}, ["compute.vm_size"]),
    (compute.what_creating_needs, {"compute": {**CLUSTER, "create": False, "vm_size": None}}, []),
    (compute.node_counts, {"compute": {**CLUSTER, "min_nodes": 5}}, ["compute.min_nodes"]),
    (compute.node_counts, {"compute": {**CLUSTER, "min_nodes": 0}}, []),
    (compute.known_size, {"compute": {**CLUSTER, "vm_size": "Standard_NC6s_v3"}}, ["compute.vm_size"]),
    (compute.known_size, {"compute": {**CLUSTER, "vm_size": "Standard_ND40rs_v2"}}, []),
    (compute.network, {"compute": {**CLUSTER, "node_public_ip": False, "vnet": None}}, ["compute.node_public_ip"]),
    (compute.network, {"compute": {**CLUSTER, "node_public_ip": False, "vnet": {"name": "n"}}}, []),
    (compute.login, {"compute": {**CLUSTER, "ssh": {"user": "me"}}}, ["compute.ssh"]),
    (compute.login, {"compute": {**CLUSTER, "ssh": {"user": "me", "public_key": "ssh-rsa"}}}, []),
    (compute.login, {"compute": {"identity": {"kind": "system_assigned", "ids": ["a"]}}}, ["compute.identity.ids"]),
    (distribution.fits_cluster, {"compute": CLUSTER, "distribution": {"nodes": 5}}, ["distribution.nodes"]),
    (distribution.fits_cluster, {"compute": CLUSTER, "distribution": {"nodes": 4}}, []),
    (distribution.fits_cluster, {"compute": HERE, "distribution": {"nodes": 5}}, []),
    (
        distribution.fits_gpus,
        {"compute": CLUSTER, "distribution": {**PYTORCH, "processes_per_node": 5}},
        ["distribution.processes_per_node"],
    ),
    (distribution.fits_gpus, {"compute": CLUSTER, "distribution": PYTORCH}, []),
    (distribution.fits_gpus, {"compute": CLUSTER, "distribution": {"kind": "none"}}, ["distribution.kind"]),
    (distribution.fits_gpus, {"compute": CPU, "distribution": {"kind": "none"}}, []),
    (distribution.backend_fits, {"compute": CPU, "distribution": {"backend": "nccl"}}, ["distribution.backend"]),
    (distribution.backend_fits, {"compute": CPU, "distribution": {"backend": "gloo"}}, []),
    (distribution.backend_fits, {"compute": CLUSTER, "distribution": {"backend": "gloo"}}, ["distribution.backend"]),
    (
        distribution.batch_divides,
        {"code": TRAIN, "compute": CLUSTER, "distribution": {**PYTORCH, "nodes": 3}, "trainer": {"batch_size": 64}},
        ["trainer.batch_size"],
    ),
    (
        distribution.batch_divides,
        {"code": TRAIN, "compute": CLUSTER, "distribution": {**PYTORCH, "nodes": 2}, "trainer": {"batch_size": 64}},
        [],
    ),
    (
        distribution.batch_divides,
        {"code": SCRIPT, "compute": CLUSTER, "distribution": {**PYTORCH, "nodes": 3}, "trainer": {"batch_size": 64}},
        [],
    ),
    (
        distribution.batch_divides,
        {"code": TRAIN, "compute": HERE, "distribution": {**PYTORCH, "nodes": 3}, "trainer": {"batch_size": 64}},
        [],
    ),
    (
        distribution.horovod,
        {"compute": CLUSTER, "distribution": {"engine": "horovod"}, "env": CONDA},
        ["distribution.engine"],
    ),
    (
        distribution.horovod,
        {
            "compute": CLUSTER,
            "distribution": {"engine": "horovod"},
            "env": {"kind": "dockerfile", "dockerfile": "configs/env/files/horovod.Dockerfile"},
        },
        [],
    ),
    (env.not_used_here, {"compute": HERE, "env": {"kind": "conda"}}, ["env.kind"]),
    (env.not_used_here, {"compute": CLUSTER, "env": {"kind": "conda"}}, []),
    (env.reserved_name, {"env": {"kind": "clone", "name": "Microsoft-x"}}, ["env.name"]),
    (env.reserved_name, {"env": {"kind": "curated", "name": "AzureML-x"}}, []),
    (
        env.curated,
        {"compute": CLUSTER, "env": {"kind": "curated", "name": "AzureML-x", "version": None}},
        ["env.version"],
    ),
    (env.curated, {"compute": CLUSTER, "env": {"kind": "curated", "name": "AzureML-x", "version": "3"}}, []),
    (env.files, {"compute": CLUSTER, "env": {**CONDA, "conda_file": "nothing.yml"}}, ["env.conda_file"]),
    (env.files, {"compute": CLUSTER, "env": CONDA}, []),
    (env.images, {"compute": CLUSTER, "env": {"image": "a/b"}}, ["env.image"]),
    (env.images, {"compute": CLUSTER, "env": {"image": "a/b:1"}}, []),
    (env.pip, {"compute": CLUSTER, "env": {"pip": ["a==1", "b"]}}, ["env.pip.1"]),
    (env.pip, {"compute": CLUSTER, "env": {"pip": ["a==1", "b>=2", "git+https://x/y"]}}, []),
    (env.variables, {"env": {"variables": {"WORLD_SIZE": "2"}, "secrets": []}}, ["env.variables.WORLD_SIZE"]),
    (env.variables, {"env": {"variables": {"KEY": "2"}, "secrets": ["KEY"]}}, ["env.variables.KEY"]),
    (env.variables, {"env": {"variables": {"NCCL_DEBUG": "INFO"}, "secrets": ["KEY"]}}, []),
    (env.shared_memory, {"compute": CLUSTER, "env": {"shm_size": "64m"}, "trainer": {"workers": 2}}, ["env.shm_size"]),
    (env.shared_memory, {"compute": CLUSTER, "env": {"shm_size": "64m"}, "trainer": {"workers": 0}}, []),
    (conda.lint, {"compute": CLUSTER, "env": CONDA}, []),
    (conda.lint, {"compute": CLUSTER, "env": {**CONDA, "conda_file": "README.md"}}, ["env.conda_file"]),
    (env.what_training_needs, {"code": TRAIN, "compute": CLUSTER, "env": CONDA}, []),
    (
        env.what_training_needs,
        {"code": TRAIN, "compute": CLUSTER, "env": {"kind": "curated", "name": "AzureML-pytorch"}},
        ["env.kind"],
    ),
    (code.one_of_script_and_command, {"code": {**SCRIPT, "command": "ls"}}, ["code.command"]),
    (code.one_of_script_and_command, {"code": {**TRAIN, "module": None}}, ["code"]),
    (code.one_of_script_and_command, {"code": SCRIPT}, []),
    (code.root, {"code": {"root": "nowhere"}}, ["code.root"]),
    (code.root, {"code": {"root": "runner"}}, []),
    (code.module, {"code": {**TRAIN, "module": "runnr"}}, ["code.module"]),
    (code.module, {"code": {**TRAIN, "module": "runner.targets"}}, ["code.module"]),
    (code.module, {"code": {**TRAIN, "module": "runner.spec"}}, []),
    (code.module, {"code": {**TRAIN, "module": "json"}}, []),
    (code.script, {"code": {**SCRIPT, "script": "spec.py"}}, ["code.script"]),
    (code.script, {"code": {**SCRIPT, "script": "/bin/ls"}}, ["code.script"]),
    (code.script, {"code": SCRIPT}, []),
    (code.arguments, {"code": {**SCRIPT, "arguments": ["a", None]}}, ["code.arguments.1"]),
    (code.arguments, {"code": {**SCRIPT, "arguments": {"a": [1, True]}}}, ["code.arguments.a"]),
    (code.arguments, {"code": {**SCRIPT, "arguments": {"a": True, "b": None, "c": [1, "x"], "d": 0.5}}}, []),
    (code.batchai, {"code": {"command": "x $AZ_BATCHAI_TASK_INDEX"}}, ["code.command"]),
    (code.batchai, {"code": {"command": "x $RANK"}}, []),
    (code.quoting, {"code": {"command": ["python main.py", "a b"]}}, ["code.command.0"]),
    (code.quoting, {"code": {"command": ["python", "--lr 0.1"]}}, ["code.command.1"]),
    (code.quoting, {"code": {"arguments": ["'a b'", "$HOME/x", "${RANK}"]}}, [f"code.arguments.{n}" for n in range(3)]),
    (code.quoting, {"code": {"command": ["python", "a b", "--lr=0.1", "x=$", "-1 2", "it's"]}}, []),
    (code.quoting, {"code": {"command": "python --lr 0.1 $HOME"}}, []),
    (code.quoting, {"code": {"arguments": {"lr": "$HOME"}}}, ["code.arguments.lr"]),
    (tags.room, {"compute": CLUSTER, "tags": {str(n): "x" for n in range(41)}}, ["tags"]),
    (tags.room, {"compute": CLUSTER, "tags": {str(n): "x" for n in range(40)}}, []),
    (tags.reserved, {"tags": {"amlrun.digest": "x", "mine": "x"}}, ["tags.amlrun.digest"]),
    (tags.reserved, {"tags": {"amlrunner": "x"}}, []),
    (distribution.imports_horovod, {"code": HOROVOD, "compute": CLUSTER, "env": CONDA}, ["code.script"]),
    (distribution.imports_horovod, {"code": HOROVOD, "compute": HERE, "env": CONDA}, []),
    (distribution.imports_horovod, {"code": SCRIPT, "compute": CLUSTER, "env": CONDA}, []),
    (distribution.imports_horovod, {"code": TRAIN, "compute": CLUSTER, "env": CONDA}, []),
    (
        distribution.imports_horovod,
        {"code": HOROVOD, "compute": CLUSTER, "env": {"kind": "image", "image": "mine:1"}},
        [],
    ),
    (
        sweep.names,
        {"sweep": {"params": {"optimizer.lrr": "1,2"}}, "optimizer": {"lr": 1}},
        ["sweep.params.optimizer.lrr"],
    ),
    (sweep.names, {"sweep": {"params": {"optimizer.lr": "1,2", "seed": "1,2"}}, "optimizer": {"lr": 1}}, []),
    (sweep.names, {"sweep": {"params": {"model": "a,b", "+x.y": "1,2", "trainer.epochs": "1"}}, "optimizer": {}}, []),
    (register.written, {"code": TRAIN, "register": {"path": "outputs/weights.h5"}}, ["register.path"]),
    (export.packages, {**EXPORTS, "env": CONDA}, []),
    (export.packages, {**EXPORTS, "env": OTHER}, ["export.onnx", "export.onnx"]),
    (export.packages, {**EXPORTS, "env": {**OTHER, "pip": ["onnxruntime==1.22.0"]}}, ["export.onnx"]),
    (export.packages, {**EXPORTS, "env": {**OTHER, "pip": ["onnx==1.19.0", "onnxruntime"]}}, []),
    (export.packages, {**EXPORTS, "env": {"kind": "curated"}}, []),
    (export.packages, {**EXPORTS, "env": OTHER, "compute": HERE}, []),
    (export.packages, {**EXPORTS, "env": OTHER, "export": {"onnx": False}}, []),
    (export.packages, {**EXPORTS, "env": OTHER, "code": SCRIPT}, []),
    (register.written, {"code": TRAIN, "register": {"path": "outputs/checkpoints"}}, []),
    (register.written, {"code": TRAIN, "export": {"onnx": True}, "register": {"path": "outputs/model.onnx"}}, []),
    (register.written, {"code": TRAIN, "register": {"path": "outputs/model.onnx"}}, ["register.path"]),
    (register.written, {"code": SILENT, "register": {"path": "outputs/weights.h5"}}, ["register.path"]),
    (register.written, {"code": WRITES, "register": {"path": "outputs/weights.h5"}}, []),
    (register.written, {"code": {**WRITES, "command": "x"}, "register": {"path": "outputs/weights.h5"}}, []),
    (inputs.complete, {"compute": CLUSTER, "inputs": {"a": {"datastore": "d"}}}, ["inputs.a"]),
    (inputs.complete, {"compute": CLUSTER, "inputs": {"a": {"datastore": "d", "path": "p"}}}, []),
    (inputs.complete, {"compute": HERE, "inputs": {"a": {"dataset": "d"}}}, ["inputs.a.dataset"]),
    (inputs.files, {"compute": HERE, "inputs": {"a": {"path": "nowhere"}}}, ["inputs.a.path"]),
    (inputs.files, {"compute": HERE, "inputs": {"a": {"path": "runner"}, "b": {"path": "https://x/y"}}}, []),
    (inputs.names, {"inputs": {"PATH": {}}}, ["inputs.PATH"]),
    (inputs.names, {"inputs": {"photos": {}}}, []),
    (inputs.references, {"inputs": {"a": {}}, "data": {"path": "input:b"}}, ["data.path"]),
    (inputs.references, {"inputs": {"a": {}}, "data": {"path": "input:a"}}, []),
    (limits.duration, {"compute": LOW, "limits": {"max_minutes": None}}, ["limits.max_minutes"]),
    (limits.duration, {"compute": LOW, "limits": {"max_minutes": 10080}}, []),
    (limits.duration, {"compute": LOW, "limits": {"max_minutes": 10081}}, ["limits.max_minutes"]),
    (limits.duration, {"compute": CLUSTER, "limits": {"max_minutes": 10081}}, []),
    (limits.checkpoints, {"code": SCRIPT, "compute": LOW}, ["compute.priority"]),
    (limits.checkpoints, {"code": TRAIN, "compute": LOW, "trainer": {"checkpoint": {"keep": 1}}}, []),
    (limits.checkpoints, {"code": TRAIN, "compute": LOW, "trainer": {"checkpoint": None}}, ["trainer.checkpoint"]),
    (sweep.enough, {"sweep": {**GRID, "sampler": "random"}}, ["sweep.max_total"]),
    (sweep.enough, {"sweep": {**GRID, "max_total": 2, "max_concurrent": 3}}, ["sweep.max_concurrent"]),
    (sweep.enough, {"sweep": GRID}, []),
    (sweep.policy, {"sweep": {"policy": {"kind": "bandit", "slack_factor": 1, "slack_amount": 1}}}, ["sweep.policy"]),
    (sweep.policy, {"sweep": {"policy": {"kind": "bandit", "slack_factor": 1, "slack_amount": None}}}, []),
    (sweep.values, {"sweep": {**GRID, "params": {"lr": "interval(0,1)"}}}, ["sweep.params.lr"]),
    (sweep.values, {"sweep": {**GRID, "sampler": "random", "params": {"lr": "interval(0,1)"}}}, []),
    (sweep.values, {"sweep": {**GRID, "sampler": "bayesian", "params": {"lr": "interval(1,0)"}}}, ["sweep.params.lr"]),
    (sweep.metric, {"code": TRAIN, "sweep": {**GRID, "metric": "val_accuracy"}}, ["sweep.metric"]),
    (sweep.metric, {"code": TRAIN, "sweep": {**GRID, "metric": "test_accuracy"}}, []),
    (sweep.metric, {"code": TRAIN, "sweep": {**GRID, "metric": None}}, []),
    (sweep.live, {**STOPPING, "tracking": {"trackers": ["jsonl"]}}, ["sweep.policy"]),
    (sweep.live, {**STOPPING, "tracking": {"trackers": ["jsonl", "azureml"]}}, []),
    (sweep.live, {**STOPPING, "tracking": {"trackers": ["jsonl"]}, "compute": {"kind": "local"}}, []),
    (sweep.live, {**STOPPING, "tracking": {"trackers": ["jsonl"]}, "sweep": GRID}, []),
    (sweep.metric, {"code": {**TRAIN, "script": "s.py"}, "sweep": {**GRID, "metric": "val_accuracy"}}, []),
    (register.path, {"register": {"path": "outputs"}}, ["register.path"]),
    (register.path, {"register": {"path": "outputs/model.pt"}}, []),
    (register.path, {"register": None}, []),
    (
        workspace.config_file,
        {"compute": CLUSTER, "workspace": {"kind": "azureml", "config": "x"}},
        ["workspace.config"],
    ),
    (workspace.config_file, {"compute": HERE, "workspace": {"kind": "azureml", "config": "x"}}, []),
    (workspace.names, {"compute": CLUSTER, "workspace": {**NAMED, "name": None}}, ["workspace.name"]),
    (workspace.names, {"compute": CLUSTER, "workspace": NAMED}, []),
    (workspace.login, {"compute": CLUSTER, "workspace": {"auth": {"kind": "token"}}}, ["workspace.auth.secret"]),
    (workspace.login, {"compute": CLUSTER, "workspace": {"auth": {"kind": "cli"}}}, []),
    (secret.values, {"name": "https://me:hunter22@host/x"}, ["name"]),
    (secret.values, {"name": "digits"}, []),
    (check_targets, {"model": {"_target_": "os.system"}}, ["model._target_"]),
    (check_targets, {"model": {"width": 3}}, []),
]


@pytest.mark.parametrize(
    ("rule", "values", "paths"), ROWS, ids=[f"{r.__name__}-{i}" for i, (r, _, _) in enumerate(ROWS)]
)
def test_rule(rule: Any, values: dict[str, Any], paths: list[str]) -> None:
    assert [".".join(finding.path) for finding in rule(values, PROJECT)] == paths


def test_every_rule_of_the_table_has_a_row_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    for rule in RULES:
        results = {bool(paths) for check, _, paths in ROWS if check is rule.check}
        assert results == {True, False}, rule.check


def test_rules_read_only_the_keys_that_they_name() -> None:
    """Otherwise what is remembered for one configuration would be shown for another."""
    for rule, values, _ in ROWS:
        keys = {key for item in RULES if item.check is rule for key in item.keys}
        assert set(values) <= keys, rule


@pytest.mark.parametrize("rule", RULES, ids=[rule.check.__name__ for rule in RULES])
def test_rules_bear_the_absence_of_any_key(rule: Any) -> None:
    assert list(rule.check({}, PROJECT)) == []
    for check, values, _ in ROWS:
        if check is rule.check:
            for less in without_one(values):
                list(rule.check(less, PROJECT))


def without_one(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The values without one key, at every depth."""
    for key, item in values.items():
        yield {name: value for name, value in values.items() if name != key}
        if isinstance(item, Mapping):
            for less in without_one(item):
                yield {**copy.deepcopy(dict(values)), key: less}


def test_messages_are_short_and_say_what_to_do() -> None:
    for rule, values, _ in ROWS:
        for finding in rule(values, PROJECT):
            assert finding.hint, finding
            assert len(finding.message) < 120, finding
            assert not finding.message.endswith((".", "!")), finding


@pytest.mark.parametrize(
    ("compute_part", "distribution_part", "expected"),
    [
        (HERE, {"kind": "none"}, 1),
        (HERE, PYTORCH, None),
        (CLUSTER, PYTORCH, 4),
        (CPU, PYTORCH, 1),
        ({**CLUSTER, "vm_size": None}, PYTORCH, None),
        (HERE, {**PYTORCH, "processes_per_node": 3}, 3),
    ],
)
def test_processes_per_node(compute_part: Any, distribution_part: Any, expected: int | None) -> None:
    assert processes_per_node({"compute": compute_part, "distribution": distribution_part}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dependencies: []", [1]),
        ("dependencies: [python=3.11, pip, {pip: [azureml-core==1]}]", []),
        ("dependencies:\n- python=3.11\n- pip\n- pip:\n  - -r other.txt", []),
        ("dependencies:\n- conda-forge::python=3.12\n- pip: [azureml-defaults==1]", [3]),
        ("dependencies:\n- python>=3.8\n- azureml-core", [2]),
        ("- a", [1]),
        ("", [1]),
        ("&a [*a]", [1]),
        ("dependencies: {a: 1}", [1]),
    ],
)
def test_conda_lines(text: str, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "conda.yml").write_text(text)
    found = [line for _, line in conda.lint_file(tmp_path / "conda.yml")]
    assert sorted(set(found)) == expected
