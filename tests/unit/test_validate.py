from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner import validate as module
from runner.errors import ConfigError, Place, Problem
from runner.resources import packaged
from runner.spec import Config, Job, Origin
from runner.validate import validate, words

PROJECT = packaged("configs").parent


def values(**changes: Any) -> dict[str, Any]:
    """A small valid configuration; `changes` replace top-level keys."""
    base: dict[str, Any] = {
        "name": "digits",
        "seed": 0,
        "tags": {},
        "compute": {"kind": "local", "slots": 1},
        "env": {"kind": "auto", "conda_file": None, "image": "auto", "pip": []},
        "distribution": {"kind": "none"},
        "workspace": {"kind": "azureml", "sdk": "v1", "auth": {"kind": "cli"}},
        "code": {"root": ".", "module": None, "script": "runner/spec.py", "command": None, "arguments": None},
        "inputs": {},
        "limits": {"max_minutes": None, "max_cost": None},
        "git": {"require_clean": False},
        "sweep": None,
        "register": None,
    }
    return {**base, **changes}


@pytest.fixture(autouse=True)
def without_training_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about what does not depend on the schemas of data, model and so on."""
    real = module.absent_top
    absent = ("data", "model", "optimizer", "schedule", "trainer", "tracking")
    monkeypatch.setattr(
        module, "absent_top", lambda top, schemas: [f for f in real(top, schemas) if f.path[0] not in absent]
    )


def config(given: Mapping[str, Any] | None = None, **rest: Any) -> Config:
    return Config(project=PROJECT, values=values() if given is None else given, **rest)


def problems(*configs: Config, strict: bool = False) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        validate(configs, strict=strict)
    return list(caught.value.problems)


def test_a_valid_configuration_becomes_a_typed_job() -> None:
    given = values(
        distribution={"kind": "pytorch", "nodes": 1, "processes_per_node": "auto", "backend": "auto"},
        tags={"a": "b"},
        git={"require_clean": True},
    )
    [job], warnings = validate([config(given)])
    assert isinstance(job, Job)
    assert warnings == []
    assert (job.target, job.name, job.seed, job.tags, job.require_clean) == ("local", "digits", 0, {"a": "b"}, True)
    assert (job.distribution.processes_per_node, job.distribution.nodes) == ("auto", 1)
    assert (job.code.kind, job.code.entry, job.code.root) == ("script", "runner/spec.py", PROJECT)


@pytest.mark.parametrize(
    ("compute", "sdk", "target"),
    [("local", "v2", "local"), ("amlcompute", "v1", "azureml"), ("amlcompute", "v2", "azureml_v2")],
)
def test_the_target_follows_from_where_and_sdk(compute: str, sdk: str, target: str) -> None:
    where = {"kind": "amlcompute", "name": "cpu"} if compute == "amlcompute" else {"kind": "local"}
    given = values(compute=where, workspace={"kind": "azureml", "sdk": sdk, "auth": {"kind": "cli"}})
    [job], _ = validate([config(given)])
    assert job.target == target


def test_the_place_is_the_keys_for_an_unknown_key_and_the_values_for_a_wrong_value() -> None:
    file = "configs/compute/gpu.yaml"
    origins = {
        ("compute", "slot"): Origin(Place(file, 4, 9), Place(file, 4, 3)),
        ("compute", "slots"): Origin(Place(file, 5, 10), Place(file, 5, 3)),
    }
    given = values(compute={"kind": "local", "slot": 2, "slots": "many"})
    assert [str(problem) for problem in problems(config(given, origins=origins))] == [
        f"{file}:4:3: compute.slot: unknown key; did you mean 'slots'?",
        f"{file}:5:10: compute.slots: 'many' is not an integer from 1",
    ]


def test_problems_of_composing_are_kept_and_not_repeated() -> None:
    bad = Problem(Place.of_override("compute.slots=${x}"), "compute.slots", "cannot be resolved: x")
    found = problems(config(values(compute={"kind": "local", "slots": "${x}"}), problems=(bad,)))
    assert found == [bad]


def test_nothing_is_said_of_groups_that_could_not_be_composed() -> None:
    bad = Problem(Place.of_override("compute=gpu"), "compute", "no option 'gpu'")
    given = values()
    del given["compute"]
    assert problems(config(given, problems=(bad,))) == [bad]
    assert problems(config({}, problems=(bad,))) == [bad]


def test_the_same_problem_of_many_points_is_shown_once() -> None:
    bad = values(seed="abc")
    assert len(problems(*[config({**bad, "tags": {"n": str(n)}}) for n in range(50)])) == 1


def test_all_configurations_are_checked() -> None:
    found = problems(config(values(seed="a")), config(), config(values(name="a b")))
    assert {problem.path for problem in found} == {"seed", "name"}


def test_warnings_stop_only_when_strict() -> None:
    warned = config(values(env={"kind": "conda", "name": "x", "conda_file": "x.yml", "image": "auto"}))
    jobs, warnings = validate([warned])
    assert (len(jobs), [w.severity for w in warnings]) == (1, ["warning"])
    assert problems(warned, strict=True) == warnings


def test_files_come_first_in_the_order_of_lines_then_overrides() -> None:
    origins = {
        ("name",): Origin(Place("b.yaml", 9, 1), Place("b.yaml", 9, 1)),
        ("seed",): Origin(Place.of_override("seed=x"), Place.of_override("seed=x")),
        ("tags",): Origin(Place("b.yaml", 10, 1), Place("b.yaml", 10, 1)),
    }
    found = problems(config(values(name="a b", seed="x", tags=3), origins=origins))
    assert [str(problem.place) for problem in found] == ["b.yaml:9:1", "b.yaml:10:1", "override 'seed=x'"]


def test_each_distinct_part_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = module.check_part
    monkeypatch.setattr(module, "check_part", lambda key, *rest, **known: seen.append(key) or real(key, *rest, **known))
    validate([config(values(seed=n)) for n in range(200)])
    assert seen.count("seed") == 200
    assert {key: seen.count(key) for key in set(seen) - {"seed"}} == dict.fromkeys(set(values()) - {"seed"}, 1)


@pytest.mark.parametrize(
    "strange",
    [
        {1: 2},
        b"bytes",
        float("nan"),
        Path("x"),
        [[[[]]]],
        "",
        "\x00\ud800",
        {"kind": {"kind": []}},
        {"kind": ["local"]},
        {"kind": None},
        None,
        True,
        10**30,
    ],
)
@pytest.mark.parametrize("key", list(values()))
def test_strange_values_are_problems_and_never_tracebacks(key: str, strange: Any) -> None:
    found: list[Problem] = []
    try:
        validate([config(values(**{key: strange}))])
    except ConfigError as error:
        found += error.problems
    assert {problem.path.split(".")[0] for problem in found} <= {key, "code"}


def test_deep_nesting_is_a_problem() -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = {"a": deep}
    found = problems(config(values(sweep=deep)))
    assert any("nested" in problem.message for problem in found)
    assert {problem.path.split(".")[0] for problem in found} == {"sweep"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ()),
        (["--lr", 0.1, 3], ("--lr", "0.1", "3")),
        ({"lr": 0.1, "-v": True, "fast": True, "slow": False, "none": None}, ("--lr", "0.1", "-v", "--fast")),
        ({"ids": [1, "a b"], "name": ""}, ("--ids", "1", "a b", "--name", "")),
    ],
)
def test_arguments_become_words(given: Any, expected: tuple[str, ...]) -> None:
    assert words(given) == expected


@pytest.mark.parametrize(
    ("code", "kind", "entry", "arguments"),
    [
        ({"command": ["python", "-V"], "arguments": ["a"]}, "command", ("python", "-V"), ("a",)),
        ({"command": "python -V | cat"}, "command", "python -V | cat", ()),
        ({"script": "runner/spec.py", "arguments": {"lr": 1}}, "script", "runner/spec.py", ("--lr", "1")),
        ({"module": "runner.spec"}, "module", "runner.spec", ()),
    ],
)
def test_what_runs(code: dict[str, Any], kind: str, entry: Any, arguments: tuple[str, ...]) -> None:
    base = {"root": ".", "module": None, "script": None, "command": None, "arguments": None}
    [job], _ = validate([config(values(code={**base, **code}))])
    assert (job.code.kind, job.code.entry, job.code.arguments) == (kind, entry, arguments)
