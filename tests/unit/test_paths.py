"""Whatever stands where a path is expected is answered by the rules, never by a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from runner.finding import Finding
from runner.paths import is_file, is_folder, is_there
from runner.rules import code, conda, distribution, env, inputs, register, workspace
from runner.signatures import check_targets
from tests.conftest import write

ODD = ["a" * 300, "a" * 5000, "x/" * 3000, "nul\0byte", "~nobody-of-that-name/x", "\ud800", "a\nb", "."]
AZURE = {"kind": "amlcompute"}
# A rule, and the values in which an odd name stands; True where the name must be refused, whatever it is.
USES: list[tuple[Callable[..., Iterable[Finding]], Callable[[str], dict[str, Any]], bool]] = [
    (code.root, lambda name: {"code": {"root": f"{name}/gone"}}, True),
    (code.script, lambda name: {"code": {"script": name}}, True),
    (code.script, lambda name: {"code": {"script": "a.py", "root": name}}, False),
    (code.module, lambda name: {"code": {"module": f"{name}x"}}, True),
    (code.module, lambda name: {"code": {"module": "train", "root": name}}, False),
    (env.files, lambda name: {"compute": AZURE, "env": {"kind": "conda", "conda_file": name}}, True),
    (env.files, lambda name: {"compute": AZURE, "env": {"kind": "dockerfile", "dockerfile": name}}, True),
    (
        env.what_training_needs,
        lambda name: {"code": {"module": "train"}, "compute": AZURE, "env": conda_env(name)},
        False,
    ),
    (conda.lint, lambda name: {"compute": AZURE, "env": {"kind": "conda", "conda_file": name}}, False),
    (inputs.files, lambda name: {"inputs": {"a": {"path": f"{name}/gone"}}}, True),
    (distribution.horovod, lambda name: {"compute": AZURE, "distribution": HOROVOD, "env": conda_env(name)}, False),
    (distribution.imports_horovod, lambda name: {"compute": AZURE, "code": {"script": name}}, False),
    (register.written, lambda name: {"code": {"script": name}, "register": {"path": f"outputs/{name}"}}, False),
    (workspace.config_file, lambda name: {"compute": AZURE, "workspace": {"kind": "azureml", "config": name}}, True),
    (check_targets, lambda name: {"model": {"_target_": f"train.{name}.x"}}, True),
    (check_targets, lambda name: {"model": {"_target_": f"{name}.x"}}, True),
    (check_targets, lambda name: {"model": {"_target_": "torch.nn.x"}, "code": {"root": name}}, True),
]
HOROVOD = {"engine": "horovod"}


def conda_env(name: str) -> dict[str, str]:
    return {"kind": "conda", "conda_file": name}


@pytest.mark.parametrize("name", ODD, ids=lambda name: ascii(name)[:24])
def test_rules_answer(tmp_path: Path, name: str) -> None:
    for rule, values_of, refused in USES:
        found = list(rule(values_of(name), tmp_path))
        assert found or not refused, rule.__name__
        assert all(len(finding.message) < 300 for finding in found if rule is not check_targets), rule.__name__


@pytest.mark.parametrize("name", [name for name in ODD if name != "."], ids=lambda name: ascii(name)[:24])
def test_no_such_thing(tmp_path: Path, name: str) -> None:
    assert not is_file(tmp_path / name)
    assert not is_folder(tmp_path / name)
    assert not is_there(name, tmp_path)


def test_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a/b": ""})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (is_file(tmp_path / "a"), is_folder(tmp_path / "a"), is_there("a", tmp_path)) == (False, True, True)
    assert (is_file(tmp_path / "a/b"), is_folder(tmp_path / "a/b"), is_there("a/b", tmp_path)) == (True, False, True)
    assert is_there("~/a/b", Path("/nowhere"))
    assert is_there(str(tmp_path / "a"), Path("/nowhere"))
    assert not is_there("a/b/c", tmp_path)
