"""`input:NAME` in a configuration: which path it becomes, and what is said where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from train.errors import TrainError
from train.inputs import with_paths

INPUTS = {"photos": {"path": "photos"}, "on-azure": {"path": "x", "datastore": "store"}, "empty": {"path": None}}
MOUNTED = {"AMLRUN_INPUT_PHOTOS": "$AZUREML_DATAREFERENCE_photos", "AZUREML_DATAREFERENCE_photos": "/mnt/photos"}


@pytest.mark.parametrize(
    ("value", "environment", "found"),
    [
        ("input:photos", {}, "photos"),
        ("input:photos", {"AMLRUN_INPUT_PHOTOS": "/data/p"}, "/data/p"),
        ("input:photos", {"AMLRUN_INPUT_photos": "/data/p"}, "/data/p"),
        ("input:on-azure", {"AMLRUN_INPUT_ON_AZURE": "/mnt/x"}, "/mnt/x"),
        ("input:photos", MOUNTED, "/mnt/photos"),  # not expanded by the node
        ("input:photos", {"AMLRUN_INPUT_PHOTOS": "$GONE"}, "$GONE"),
        ("input:photos", {"AMLRUN_INPUT_PHOTOS": ""}, "photos"),
        ({"a": ["input:photos", 1], "b": {"c": None}}, {}, {"a": ["photos", 1], "b": {"c": None}}),
        ("an input:photos", {}, "an input:photos"),
    ],
)
def test_paths(value: Any, environment: dict[str, str], found: Any) -> None:
    assert with_paths(value, INPUTS, environment) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "there is no input 'gone'; add inputs.gone.path"),
        ("on-azure", "the input is on Azure and AMLRUN_INPUT_ON_AZURE is not set; start with `amlrun run`"),
        ("empty", "the input is on Azure and AMLRUN_INPUT_EMPTY is not set"),
    ],
)
def test_an_input_that_is_nowhere_says_what_to_do(name: str, said: str) -> None:
    with pytest.raises(TrainError, match=said.replace("(", r"\(")):
        with_paths(f"input:{name}", INPUTS, {})
