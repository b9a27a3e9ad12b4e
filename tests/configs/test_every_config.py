"""Every option of every group, and every experiment, composes and validates."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.compose import compose
from runner.validate import validate

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(REPOSITORY / "configs").with_suffix("").as_posix()
    for path in (REPOSITORY / "configs").rglob("*.yaml")
    if path.name != "config.yaml"
)
# What an option cannot know: the reader gives it.
GIVEN = {
    "compute/existing": ["compute.name=cpu-cluster"],
    "data/folder": ["+inputs.images={path: configs}"],
    "experiment/folder": ["inputs.images.path=configs"],
    "env/image": ["env.image=mine.azurecr.io/train:2026-11-01"],
}
# Warnings that an option carries on purpose, by the path of the key.
EXPECTED = {
    "compute/gpu-cluster-lowpriority": {"limits.max_minutes"},
    "env/curated": {"env.kind"},
}
GROUPS = (
    *("compute", "env", "distribution", "workspace", "sweep", "experiment"),
    *("data", "model", "optimizer", "schedule", "trainer", "tracking"),
)


def test_the_default_is_valid() -> None:
    jobs, warnings = validate(compose(REPOSITORY, [[]]))
    assert [job.target for job in jobs] == ["local"]
    assert warnings == []


# Each option is a composition of its own, 0.15 s: what people begin with is in the fast suite.
QUICK = ("experiment/", "compute/", "distribution/")


@pytest.mark.parametrize(
    "option", [pytest.param(name, marks=[] if name.startswith(QUICK) else pytest.mark.slow) for name in FILES]
)
def test_every_option_is_valid(option: str) -> None:
    group, name = option.split("/", 1)
    azure = ["compute=gpu-cluster"] if group in ("env", "workspace", "distribution") else []
    configs = compose(REPOSITORY, [[*azure, f"{group}={name}", *GIVEN.get(option, [])]])
    assert configs[0].choices[group] == name
    jobs, warnings = validate(configs)
    assert len(jobs) == 1
    if group != "experiment":
        assert {warning.path for warning in warnings} == EXPECTED.get(option, set()), warnings


def test_every_group_has_options() -> None:
    found = {option.split("/")[0] for option in FILES}
    assert found <= set(GROUPS)
    assert found >= set(GROUPS) - {"experiment"}


def test_every_file_names_its_schema() -> None:
    for option in FILES:
        path = REPOSITORY / "configs" / f"{option}.yaml"
        comments = [line for line in path.read_text(encoding="utf-8").splitlines()[:3] if line.startswith("#")]
        [schema] = [line.partition("$schema=")[2] for line in comments if "yaml-language-server" in line]
        assert (path.parent / schema).resolve() == REPOSITORY / "schemas" / f"{option.split('/')[0]}.schema.json", path


@pytest.mark.parametrize("option", [option for option in FILES if option.startswith("experiment/")])
def test_an_experiment_is_short_and_says_how_it_is_run(option: str) -> None:
    lines = (REPOSITORY / "configs" / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"  # Hydra takes it in the first line only
    assert lines[1].split()[:4] == ["#", "amlrun", "run", option.replace("/", "=")]
    assert len(lines) <= 30
