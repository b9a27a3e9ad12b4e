from __future__ import annotations

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import signatures
from runner.finding import Finding
from runner.signatures import check_targets, read_target
from runner.sources import find_module, look_up, names_in


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "nets"
    package.mkdir()
    (package / "__init__.py").write_text("from .plain import *\nfrom nets.plain import Net as Renamed\nSIZE = 3\n")
    (package / "broken.py").write_text("def broken(:\n")
    (package / "plain.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from elsewhere import Unknown

            class Net:
                def __init__(self, num_classes, depth, *, width=8): ...

            class Child(Net):
                pass

            class Wider(Net):
                def __init__(self, extra=1, **kwargs): ...

            class Closed:
                pass

            class FromUnknown(Unknown):
                pass

            class Made:
                def __new__(cls, a): ...

            @dataclass
            class Settings:
                depth: int
                width: int = 8

            def build(depth=1, **kwargs) -> Net: ...

            def anything(depth=1, **kwargs): ...

            def load(path, size=8, seed=0, steps=()): ...

            if True:
                def conditional(a): ...
            """
        )
    )
    return tmp_path


def found(project: Path, group: str, **spec: Any) -> list[tuple[str, str, str]]:
    values = {"compute": {"kind": "local"}, "code": {"root": "."}, group: {"_target_": spec.pop("target"), **spec}}
    return [(".".join(f.path), f.message, f.severity) for f in check_targets(values, project)]


def test_a_good_target_has_no_problem(project: Path) -> None:
    assert found(project, "model", target="nets.plain.Net", depth=2, width=4) == []
    assert found(project, "model", target="nets.Net", depth=2) == []
    assert found(project, "model", target="nets.Renamed", depth=2) == []
    assert found(project, "data", target="nets.plain.load", path="x") == []
    assert found(project, "model", target="nets.plain.Net", depth=2, weights="net.pt") == []  # train reads it
    assert found(project, "data", target="nets.plain.load", path="x", weights="net.pt") != []


@pytest.mark.parametrize("target", ["os.system", "Net", "json.loads", "nets2.Net"])
def test_targets_from_elsewhere_are_not_allowed(project: Path, target: str) -> None:
    [(path, message, severity)] = found(project, "model", target=target)
    assert (path, severity) == ("model._target_", "error")
    assert "not an allowed target" in message


@pytest.mark.parametrize(
    ("target", "given", "bad"),
    [
        ("nets.plain.Net", {"depth": 1, "wdith": 2}, ["model.wdith"]),
        ("nets.plain.Child", {"depth": 1, "wdith": 2}, ["model.wdith"]),
        ("nets.plain.Net", {}, ["model.depth"]),
        ("nets.plain.Net", {"dpeth": 1}, ["model.dpeth"]),  # the misspelt key is the missing one
        ("nets.plain.Closed", {"a": 1}, ["model.a"]),
        ("nets.plain.Settings", {"depth": 1, "a": 1}, ["model.a"]),
        ("nets.plain.conditional", {"b": 1, "a": 1}, ["model.b"]),
        ("nets.plain.Nett", {}, ["model._target_"]),
        ("nets.plan.Net", {}, ["model._target_"]),
    ],
)
def test_wrong_keys_are_errors(project: Path, target: str, given: dict[str, Any], bad: list[str]) -> None:
    problems = found(project, "model", target=target, **given)
    assert [path for path, _, _ in problems] == bad
    assert {severity for _, _, severity in problems} == {"error"}


@pytest.mark.parametrize("target", ["Wider", "build"])
def test_keyword_arguments_that_reach_a_known_signature_warn_only(project: Path, target: str) -> None:
    assert found(project, "model", target=f"nets.plain.{target}", depth=1, width=2) == []
    [(path, _, severity)] = found(project, "model", target=f"nets.plain.{target}", depth=1, wdith=2)
    assert (path, severity) == ("model.wdith", "warning")


@pytest.mark.parametrize("target", ["nets.plain.anything", "nets.plain.FromUnknown", "nets.plain.Made", "nets.SIZE"])
def test_what_cannot_be_known_is_not_refused(project: Path, target: str) -> None:
    assert found(project, "model", target=target, zzz=1) == []


def test_a_file_that_does_not_parse_is_not_checked(project: Path) -> None:
    assert found(project, "model", target="nets.broken.Net", zzz=1) == []
    assert read_target("nets.broken.Net", project) is None


def test_what_training_supplies_is_not_missing(project: Path) -> None:
    assert found(project, "data", target="nets.plain.load", path="x") == []
    assert [path for path, _, _ in found(project, "data", target="nets.plain.load")] == ["data.path"]


def test_a_misspelt_name_gets_a_suggestion(project: Path) -> None:
    values = {"model": {"_target_": "nets.plain.Nett"}}
    [finding] = check_targets(values, project)
    assert isinstance(finding, Finding)
    assert finding.hint == "did you mean 'Net'?"


def test_nested_targets_are_found(project: Path) -> None:
    values = {"data": {"_target_": "nets.plain.load", "path": "x", "steps": [{"_target_": "os.system"}]}}
    assert [".".join(f.path) for f in check_targets(values, project)] == ["data.steps.0._target_"]


def test_names_of_a_module(project: Path) -> None:
    module = find_module("nets", (project,))
    assert module is not None
    assert {"Net", "Renamed", "SIZE", "plain", "broken"} <= set(names_in(module))
    assert look_up(module, "Missing") is None


def test_not_installed_is_not_checked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "installed_at", lambda top: None)
    assert found(project, "optimizer", target="torch.optim.AdamW", zzz=1) == []
    assert read_target("torch.optim.AdamW", project) is None


def test_installed_packages_are_read_without_importing_them(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for torch, so that the test needs none."""
    optim = project / "site" / "torch" / "optim"
    optim.mkdir(parents=True)
    (optim.parent / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    (optim / "__init__.py").write_text("from torch.optim.adam import Adam as Adam\n")
    (optim / "adam.py").write_text("class Adam:\n    def __init__(self, params, lr=0.001): ...\n")
    monkeypatch.setattr(signatures, "installed_at", lambda top: project / "site")
    assert found(project, "optimizer", target="torch.optim.Adam", lr=0.1) == []
    assert [row[0] for row in found(project, "optimizer", target="torch.optim.Adam", rl=0.1)] == ["optimizer.rl"]
    here = {"optimizer": {"_target_": "torch.optim.Adam", "rl": 1}, "compute": {"kind": "amlcompute"}}
    assert [f.severity for f in check_targets(here, project)] == ["warning"]  # another version may run there


def test_the_plan_is_told_what_could_not_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "installed_at", lambda top: None)
    values = {"model": {"_target_": "nets.plain.Net"}, "optimizer": {"_target_": "torch.optim.AdamW"}}
    job = SimpleNamespace(config=SimpleNamespace(values=values), code=SimpleNamespace(root=project))
    assert signatures.not_checked(job) == (  # type: ignore[arg-type]
        "optimizer: arguments of torch.optim.AdamW (its source is not installed here)",
    )
