"""Text arrives unchanged: any override, argument, word of a command and variable, here and through the emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.azureml.shell import needs_sdk
from tests.conftest import ROOT, write

pytestmark = pytest.mark.slow

AWKWARD = (
    *("", " ", "a b", " a ", "it's", 'say "x"', "'quoted'", '"quoted"', "''", "`id`", "$(id)", "!x", "a;b", "a&b|c>d"),
    *("$HOME", "${HOME}", "\\$HOME", "\\${HOME}", "\\\\${HOME}", "$", "$$", "5$", "${", "${oc.env:HOME}", "%HOME%"),
    *("\\", "\\\\", "a\\", "\\'", '\\"', "\\n", "a\\ b", "x=y", "=", "a=b=c", "a,b", "[1,2]", "{a: b}", "(x)", "a:b"),
    *("</think>", "<|end|>", "&lt;", "-", "--", "-v", "--name", "--n=5", "null", "true", "1e3", "007", "~", "*", "?"),
    *("line\nline", "\n", "end\n", "\t", "a\tb", "\r\n", "\x7f", "\x1b[31m", "# no comment", "@file", "+x", "~x"),
    *(
        "ünïcode",
        "u\u0308",
        "日本語",
        "🙂",
        "👩\u200d💻",
        "\u202eright",
        "\ufeff",
        "\u2028",
        "\xa0",
        "\u0085",
        "x" * 5000,
    ),
)
# A whole word `input:NAME` is not text but the path of that input, and neither can hold what ends a C string.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
TEXTS = st.lists(
    (TEXT | st.text("'\"\\${}[](),:=-~ \n\taé", max_size=12)).filter(lambda text: not text.startswith("input:")),
    min_size=10,
    max_size=30,
)
EXPANDED = re.compile(r"\$\{?\w")  # by Azure, in a script's arguments: the tutorial relies on it

RECORD = """
import json, os, sys
from pathlib import Path
variables = {name: value for name, value in os.environ.items() if name.startswith("TEXT_")}
arrived = {"arguments": sys.argv[1:], "variables": variables}
Path("outputs/arrived.json").write_text(json.dumps(arrived))
"""
AWARE = """
import json, os, sys
from pathlib import Path
import hydra
from omegaconf import OmegaConf
from train.job import take_job

@hydra.main(config_path="configs", config_name="config", version_base=None)
def main(config):
    variables = {name: value for name, value in os.environ.items() if name.startswith("TEXT_")}
    arrived = {"values": OmegaConf.to_container(config.env.variables, resolve=True), "variables": variables}
    Path("outputs/arrived.json").write_text(json.dumps(arrived))

sys.argv[1:], _ = take_job(sys.argv[1:])
main()
"""
HERE = ("compute=local", "compute.slots=4")
THERE = ("compute=cpu-cluster", "compute.max_nodes=4", "workspace=emulator")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a script that notes what it gets, and one that composes with Hydra what it gets."""
    project = tmp_path_factory.mktemp("project")
    config = (ROOT / "configs/config.yaml").read_text()
    job = {f"train/{name}.py": (ROOT / f"train/{name}.py").read_text() for name in ("__init__", "errors", "job")}
    return write(project, {"configs/config.yaml": config, "record.py": RECORD, "aware.py": AWARE, **job})


def arrivals(examples: int, many: int) -> settings:
    """A failing example is not made smaller: every one takes seconds."""
    count = many if os.environ.get("FULL") else examples
    phases = (Phase.explicit, Phase.generate)
    return settings(
        max_examples=count, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
    )


@arrivals(2, 20)
@given(texts=TEXTS)
def test_text_arrives_here(texts: list[str], folder: Path) -> None:
    check(folder, [*AWKWARD, *texts], [*AWKWARD, *texts], HERE)


@needs_sdk
@arrivals(2, 20)
@given(texts=TEXTS)
def test_text_arrives_through_the_emulator(texts: list[str], folder: Path, emulator: Path) -> None:
    given = [*AWKWARD, *texts]
    check(folder, given, [text for text in given if not EXPANDED.search(text)], (*THERE, f"workspace.dir={emulator}"))


@needs_sdk
def test_of_a_scripts_arguments_azure_expands_variables_and_that_is_said(folder: Path, emulator: Path) -> None:
    words = [r"code.arguments=[--here,$TEXT_A,'\${TEXT_A}/b',$TEXT_UNSET]", "+env.variables.TEXT_A=a b"]
    argv = ["code.script=record.py", *words, *THERE, f"workspace.dir={emulator}"]
    done = run(folder, "run", *argv, "--json")
    assert done.returncode == 0, done.stderr

    assert arrived(folder, json.loads(done.stdout)["id"])["arguments"] == ["--here", "a b", "a b/b", "$TEXT_UNSET"]
    assert done.stderr.count("is expanded by Azure, and by no shell here") == 3


def check(folder: Path, texts: list[str], arguments: list[str], where: tuple[str, ...]) -> None:
    """One submission of four runs: the Hydra-aware module, a script with either form of arguments, and words."""
    mapping = {f"k{number}": text for number, text in enumerate(arguments)}
    codes: dict[str, Any] = {
        "aware": {"module": "aware"},
        "listed": {"script": "record.py", "arguments": arguments},
        "mapped": {"script": "record.py", "arguments": mapping},
        "worded": {"command": [sys.executable, "record.py", *texts]},
    }
    expected = {
        "listed": arguments,
        "mapped": [word for key, text in mapping.items() for word in (f"--{key}", text)],
        "worded": texts,
    }
    for name, code in codes.items():
        write(folder, {f"configs/experiment/{name}.yaml": "# @package _global_\n" + in_yaml({"code": code})})
    variables = {f"TEXT_{number}": text for number, text in enumerate(texts)}
    overrides = [f"+env.variables.{name}={quoted(text)}" for name, text in variables.items()]
    done = run(folder, "run", "-m", f"experiment={','.join(codes)}", *overrides, *where, "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    for name, record in zip(codes, json.loads(done.stdout)["runs"], strict=True):
        got = arrived(folder, record["id"])
        assert got["variables"] == variables
        assert got.get("arguments") == expected.get(name)
        assert got.get("values", variables) == variables


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runner", *argv]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)


def arrived(folder: Path, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".runs" / run_id / "outputs" / "arrived.json").read_text())
    return found


def in_yaml(values: Any) -> str:
    def escaped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: escaped(item) for key, item in value.items()}
        return [escaped(item) for item in value] if isinstance(value, list) else no_interpolation(value)

    return yaml.safe_dump(escaped(values), allow_unicode=True, default_style='"', sort_keys=False)


def quoted(text: str) -> str:
    """As Hydra's override grammar quotes text."""
    return str(QuotedString(no_interpolation(text), Quote.single).with_quotes())


def no_interpolation(text: str) -> str:
    """As OmegaConf escapes `${`; backslashes before it are then doubled."""
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
