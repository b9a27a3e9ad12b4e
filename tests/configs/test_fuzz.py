"""Whatever stands in an experiment file or an override: problems with a place, never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.compose import compose
from runner.errors import ConfigError
from runner.validate import validate

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = (
    *("compute", "kind", "slots", "max_nodes", "env", "variables", "distribution", "nodes", "code", "script", "inputs"),
    *("model", "_target_", "width", "trainer", "batch_size", "checkpoint", "sweep", "params", "policy", "register"),
    *("defaults", "hydra", "name", "seed", "tags", "limits", "max_minutes", "workspace", "auth", "x", "1", "a b"),
)
SCALARS = (
    *("1", "-1", "0.5", "true", "null", "~", "abc", "''", "'???'", "???", ".nan", ".inf", "1e999", "0x10", "012"),
    *("2026-01-01", "!!binary aGk=", "!!python/object/apply:os.system ['true']", "!!set {a, b}", "!foo x"),
    *("*anchor", "&anchor 1", "${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "${now:%Y}", "${"),
    *("<<<<<<< HEAD", "=======", "\t1", "\ufeff1", "[1, 2", "{a: 1", "[]", "{}", "[null, [1]]", "{kind: local}"),
    *(
        "amlcompute",
        "train.models.small_cnn.SmallCNN",
        "os.system",
        "input:x",
        "|",
        "'\\udc80'",
        '"\\x00"',
        "%",
        "@x",
        "`",
    ),
)
scalars = st.sampled_from(SCALARS) | st.text(max_size=6).filter(lambda text: "\n" not in text)
keys = st.sampled_from(KEYS)


@st.composite
def yaml_lines(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Lines of a mapping, indented, mostly well formed."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        key = draw(keys)
        pad = draw(st.sampled_from(["  "] * 9 + [" ", "\t"])) * depth
        if depth < 3 and draw(st.booleans()):
            lines += [f"{pad}{key}:", *draw(yaml_lines(depth=depth + 1))]
        else:
            lines.append(f"{pad}{key}: {draw(scalars)}")
    return lines


@st.composite
def overrides(draw: st.DrawFn) -> str:
    prefix = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
    key = ".".join(draw(st.lists(keys, min_size=1, max_size=3)))
    group = draw(st.sampled_from(["", "", "/", "@", "hydra."]))
    return f"{prefix}{group}{key}" + (f"={draw(scalars)}" if draw(st.integers(0, 9)) else "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(REPOSITORY / "configs", folder / "configs")
    return folder


def check(project: Path, lines: list[str], given_overrides: list[str]) -> None:
    text = "# @package _global_\n" + "\n".join(lines) + "\n"
    path = project / "configs" / "experiment" / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    problems = []
    try:
        problems = validate(compose(project, [["experiment=fuzz", *given_overrides]]))[1]
    except ConfigError as error:
        problems = list(error.problems)
    for problem in problems:
        assert problem.place.source
        assert problem.message
        assert "Traceback" not in str(problem)


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(yaml_lines(), st.lists(overrides(), max_size=2))
def test_a_sample(project: Path, lines: list[str], given_overrides: list[str]) -> None:
    check(project, lines, given_overrides)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(yaml_lines(), st.lists(overrides(), max_size=2))
def test_many(project: Path, lines: list[str], given_overrides: list[str]) -> None:
    check(project, lines, given_overrides)
