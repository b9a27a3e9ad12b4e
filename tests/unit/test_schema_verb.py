"""Schemas for editors: right files validate, a misspelt choice does not, and nobody's files are overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from runner.choices import group_options, targets
from runner.compose import open_source
from runner.editor_schemas import generate
from tests.conftest import ROOT, Cli, write

EXPERIMENTS = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))


def validator(made: dict[str, Any], name: str) -> Any:
    def retrieve(uri: str) -> Any:
        return DRAFT202012.create_resource(made[uri.removesuffix(".schema.json")])

    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    return Draft202012Validator(made[name], registry=registry)


@pytest.fixture(scope="module")
def experiment() -> Any:
    return validator(generate(ROOT), "experiment")


@pytest.mark.parametrize("path", [ROOT / "configs" / "config.yaml", *EXPERIMENTS], ids=lambda path: path.stem)
def test_every_experiment_of_the_project_is_valid(experiment: Any, path: Path) -> None:
    assert [error.message for error in experiment.iter_errors(yaml.safe_load(path.read_text()))] == []


def test_sees_the_experiments() -> None:
    assert len(EXPERIMENTS) >= 4


@pytest.mark.parametrize(
    "line",
    [
        "override /model: resnet18",
        "/model: [resnet18, small_cnn]",
        "optional /model: small_cnn",
        "/model@teacher: resnet18",
        "override /model: ${backbone}",
        "override hydra/job_logging: none",
        "override /sweep: null",
        "/model/resnet18",
        "_self_",
        "digits",
    ],
)
def test_lines_that_hydra_takes(experiment: Any, line: str) -> None:
    assert experiment.is_valid({"defaults": [yaml.safe_load(line)]})


@pytest.mark.parametrize(
    "line",
    [
        "override /model: resnet81",
        "override /modle: resnet18",
        "override model: resnet18",
        "/model@teacher: resnet81",
        "/model: [resnet18, smal_cnn]",
        "/model/resnet81",
        "_slef_",
        "override /model: 18",
    ],
)
def test_misspelt_lines(experiment: Any, line: str) -> None:
    assert not experiment.is_valid({"defaults": [yaml.safe_load(line)]})


def test_a_misspelt_key_is_found_too(experiment: Any) -> None:
    assert not experiment.is_valid({"trainer": {"epoch": 1}})


def test_all_generated_schemas_are_schemas_and_resolve() -> None:
    made = generate(ROOT)
    for name, schema in made.items():
        Draft202012Validator.check_schema(schema)
        validator(made, name).is_valid({})
    assert {"experiment", "job", "model"} <= set(made)


def test_groups_and_options_are_hydras(bare: Path) -> None:
    write(bare, {"configs/model/mine.yaml": "_target_: mine.Net\n", "configs/own/deep/a.yaml": "x: 1\n"})
    loader = open_source(bare).loader
    hydras = {
        group: loader.get_group_options(group)
        for group in (*loader.list_groups(""), *(f"own/{name}" for name in loader.list_groups("own")))
        if loader.get_group_options(group) and group != "hydra"
    }
    assert {group: list(options) for group, options in open_source(bare).options.items()} == hydras
    assert {group: tuple(options) for group, options in group_options(bare).items()} == {
        group: tuple(sorted(options)) for group, options in hydras.items()
    }
    assert "mine" in group_options(bare)["model"]
    assert "own/deep" in group_options(bare)


def test_targets_are_those_defined_in_train_and_those_in_use(project: Path) -> None:
    write(
        project,
        {
            "train/models/tiny.py": "import torch.nn\nclass Tiny(torch.nn.Module): ...\nclass _Part(Module): ...\n",
            "train/models/broken.py": "class",
            "configs/model/mine.yaml": "_target_: mine.Net\n",
            "configs/model/wrong.yaml": "a: [\n",
        },
    )
    found = targets(project, "model")
    assert {"train.models.tiny.Tiny", "train.models.small_cnn.SmallCNN", "mine.Net"} <= set(found)
    assert "torchvision.models.resnet18" in found
    assert not [name for name in found if "_Part" in name]
    names = ("digits", "folder", "idx", "patches", "synthetic")
    assert set(targets(project, "data")) == {f"train.data.{name}.load" for name in names}
    model = generate(project)["model"]["$defs"]["partial"]["properties"]["_target_"]
    assert model["examples"] == found


def test_options_say_what_they_are() -> None:
    choice = generate(ROOT)["experiment"]["$defs"]["choice-compute"]["anyOf"][0]
    assert choice["enumDescriptions"][choice["enum"].index("local")] == "This machine."


def test_prints_unless_asked_to_write(cli: Cli, project: Path) -> None:
    done = cli(project, "schema")
    assert done.code == 0
    assert "experiment.schema.json: compute: cpu-cluster, existing" in done.out
    assert "model.schema.json: _target_: torchvision.models.mobilenet_v3_small" in done.out
    assert "nothing written; --write DIR" in done.out
    assert not (project / "schemas").exists()
    assert "experiment" in json.loads(cli(project, "schema", "--json").out)["schemas"]


def test_written_schemas_serve_editors_only(cli: Cli, project: Path) -> None:
    """A stale copy of a schema must not decide what is valid."""
    assert cli(project, "schema", "--write", "schemas").code == 0
    path = project / "schemas" / "trainer.schema.json"
    text = path.read_text()
    path.write_text(text.replace('"epochs"', '"rounds"'))
    assert cli(project, "validate").code == 0
    assert cli(project, "schema", "--write", "schemas", "--quiet").out == ""
    assert path.read_text() == text
    files = json.loads(cli(project, "schema", "--write", "schemas", "--json").out)["files"]
    assert all((project / name).is_file() for name in files)


def test_a_schema_that_somebody_wrote_is_used_and_never_overwritten(cli: Cli, project: Path) -> None:
    own = json.loads((ROOT / "schemas" / "tracking.schema.json").read_text()) | {"description": "Ours."}
    write(project, {"schemas/tracking.schema.json": json.dumps(own)})
    done = cli(project, "schema", "--write", "schemas")
    assert done.code == 2
    assert "schemas/tracking.schema.json: not written by 'amlrun schema', so it stays; choose another" in done.err
    assert not (project / "schemas" / "job.schema.json").exists()
    assert json.loads(cli(project, "schema", "--json").out)["schemas"]["tracking"]["description"] == "Ours."
