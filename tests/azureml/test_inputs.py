"""`inputs` as azureml-core is told of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runner.targets import azureml_inputs
from runner.targets.azureml import script_run_config
from tests.azureml.conftest import MakePlan
from tests.azureml.shell import needs_sdk

PHOTOS = {"datastore": "workspaceblobstore", "path": "/raw/photos/", "mode": "download"}
BIRDS = {"dataset": "birds", "version": 3}
INPUTS = {"photos": PHOTOS, "birds": BIRDS}


@pytest.mark.parametrize(
    ("program", "arguments", "command"),
    [
        (
            {"arguments": ("--data", "input:photos", "input:birds", "input:none", "x input:photos")},
            [
                *("--data", "$AZUREML_DATAREFERENCE_photos", "DatasetConsumptionConfig:birds"),
                *("input:none", "x input:photos"),
            ],
            None,
        ),
        (
            {"script": None, "command": ("ls", "input:photos", "a b", "input:birds")},
            [],
            'export AMLRUN_INPUT_photos="$AZUREML_DATAREFERENCE_photos"; '
            """ls "$AZUREML_DATAREFERENCE_photos" 'a b' "DatasetConsumptionConfig:birds\"""",
        ),
        (
            {"script": None, "shell": "cat $AMLRUN_INPUT_photos/*"},
            [],
            'export AMLRUN_INPUT_photos="$AZUREML_DATAREFERENCE_photos"; cat $AMLRUN_INPUT_photos/*',
        ),
    ],
)
def test_paths_are_left_to_the_node(
    program: dict[str, Any], arguments: list[str], command: str | None, make_plan: MakePlan
) -> None:
    request = script_run_config(make_plan(inputs=INPUTS, **program))["script_run_config"]

    assert (request["arguments"], request["command"]) == (arguments, command)
    assert request["environment_variables"]["AMLRUN_INPUT_photos"] == "$AZUREML_DATAREFERENCE_photos"
    assert "AMLRUN_INPUT_birds" not in request["environment_variables"]  # the service makes it


def test_without_inputs_nothing_is_added(make_plan: MakePlan) -> None:
    request = script_run_config(make_plan(script=None, command=("ls", "a b")))["script_run_config"]
    assert request["command"] == "ls 'a b'"
    assert not [name for name in request["environment_variables"] if name.startswith("AMLRUN_INPUT")]


@pytest.mark.parametrize("path", ["data", "https://x/y.zip", "/data"])
def test_a_path_without_a_datastore_does_not_travel(path: str, make_plan: MakePlan) -> None:
    [problem] = azureml_inputs.check(make_plan(inputs={"a": {"path": path}, **INPUTS}))
    assert problem.path == "inputs.a"
    assert problem.message == f"'{path}' is no path in a datastore, and does not travel to Azure"
    assert "set 'datastore'" in problem.hint


@needs_sdk
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FileType Enum is Deprecated:DeprecationWarning")  # the SDK's own, on import
def test_what_the_sdk_sends(make_plan: MakePlan) -> None:
    config = SimpleNamespace(data_references={}, data={})
    whole = {"datastore": "workspaceblobstore", "path": "."}
    azureml_inputs.add(config, make_plan(inputs={**INPUTS, "all": whole, "new": {"dataset": "birds"}}))

    photos, everything = config.data_references["photos"], config.data_references["all"]
    assert (photos.data_store_name, photos.path_on_data_store) == ("workspaceblobstore", "raw/photos")
    assert (photos.mode, everything.mode, everything.path_on_data_store) == ("download", "mount", None)
    birds = config.data["birds"]
    assert (birds.mechanism, birds.environment_variable_name) == ("mount", "AMLRUN_INPUT_birds")
    assert (birds.data_location.dataset.name, birds.data_location.dataset.version) == ("birds", "3")
    assert config.data["new"].data_location.dataset.version == "latest"
