"""Environments: versions never change, the same definition is the same version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.conftest import WS, Client

PATH = f"/environment/v1.0{WS}/environments"


def definition(image: str = "a/b:1") -> dict[str, Any]:
    """With the cases that the SDK mixes."""
    return {
        "Name": "env",
        "python": {"interpreterPath": "python"},
        "Docker": {"baseImage": image},
        "Spark": None,
        "r": None,
    }


def test_same_definition_same_version(client: Client) -> None:
    first = client.ask("PUT", f"{PATH}/env", definition())
    assert (first["name"], first["version"], first["docker"]) == ("env", "1", {"baseImage": "a/b:1"})
    assert client.ask("PUT", f"{PATH}/env", definition()) == first
    assert client.ask("PUT", f"{PATH}/env", definition("a/b:2"))["version"] == "2"
    assert client.ask("PUT", f"{PATH}/env", definition())["version"] == "1"


def test_a_version_of_ones_own(client: Client) -> None:
    assert client.ask("PUT", f"{PATH}/env/versions/blue", definition())["version"] == "blue"
    assert client.ask("PUT", f"{PATH}/env/versions/blue", definition())["version"] == "blue"
    words = client.refused("PUT", f"{PATH}/env/versions/blue", definition("a/b:2"))
    assert "exists with another definition" in words
    assert client.ask("PUT", f"{PATH}/env", definition("a/b:2"))["version"] == "1"


def test_read_by_version_and_label(client: Client) -> None:
    client.ask("PUT", f"{PATH}/env", definition())
    client.ask("PUT", f"{PATH}/env", definition("a/b:2"))
    assert client.ask("GET", f"{PATH}/env")["version"] == "2"
    assert client.ask("GET", f"{PATH}/env/labels/Latest")["version"] == "2"
    assert client.ask("GET", f"{PATH}/env/versions/1")["docker"] == {"baseImage": "a/b:1"}
    assert "it has 1, 2" in client.refused("GET", f"{PATH}/env/versions/3", expect=404)
    assert "does not exist" in client.refused("GET", f"{PATH}/other", expect=404)
    client.refused("GET", f"{PATH}/env/labels/blue", expect=404)


def test_curated_ones_are_there_and_reserved(client: Client) -> None:
    name = "AzureML-acpt-pytorch-2.8-cuda12.6"
    assert client.ask("GET", f"{PATH}/{name}/versions/17")["docker"]["baseImage"].endswith(
        "acpt-pytorch-2.8-cuda12.6:17"
    )
    assert {item["name"] for item in client.ask("GET", PATH + "/")["value"]} >= {name, "AzureML-Minimal"}
    assert "is reserved" in client.refused("PUT", f"{PATH}/AzureML-mine", definition())
    assert "is reserved" in client.refused("PUT", f"{PATH}/microsoft-mine", definition())


def test_unknown_fields_are_refused(client: Client) -> None:
    assert "unknown field 'dockerr'" in client.refused("PUT", f"{PATH}/env", {**definition(), "dockerr": {}})


@pytest.mark.parametrize("name", ["a%2Fb", "a%00b", "%20a", "a%5Cb", "a%0Ab", "a%3Fb", "x" * 256])
def test_names_and_versions_that_none_can_have(name: str, client: Client) -> None:
    assert "environment name" in client.refused("PUT", f"{PATH}/{name}", definition())
    assert "environment version" in client.refused("PUT", f"{PATH}/env/versions/{name}", definition())
    assert client.ask("PUT", f"{PATH}/my.Env_1-é%20b", definition())["name"] == "my.Env_1-é b"


@pytest.mark.parametrize(
    ("conda", "words"),
    [
        (["numpy"], "condaDependencies is no object"),
        ({"dependencies": "numpy"}, "the dependencies of the conda section is no list"),
        ({"dependencies": [{"pip": "numpy"}]}, "pip in the conda section is no list"),
    ],
)
def test_a_conda_section_that_cannot_be_read(conda: Any, words: str, client: Client) -> None:
    body = {**definition(), "python": {"condaDependencies": conda}}
    assert words in client.refused("PUT", f"{PATH}/env", body)
    client.refused("GET", f"{PATH}/env", expect=404)


def test_image_details_and_labels(client: Client) -> None:
    client.ask("PUT", f"{PATH}/env", definition())
    assert client.ask("GET", f"{PATH}/env/versions/1/image")["imageExistsInRegistry"] is True
    client.ask("PUT", f"{PATH}/env/versions/1/metadata", {"Labels": ["x"]})
    client.refused("PUT", f"{PATH}/env/versions/2/metadata", {"Labels": []}, expect=404)


def test_a_build_is_done_at_once(client: Client) -> None:
    client.ask("PUT", f"{PATH}/env", definition())
    client.cluster()
    one = f"{PATH.replace('v1.0', 'v2.0')}/env/versions/1"
    for what in ("image", "imageoncompute/gpu"):
        location = client.ask("POST", f"{one}/{what}", {}, 202)["location"]
        assert client.ask("GET", location.removeprefix(client.service.origin))["status"] == "Succeeded"
    client.refused("POST", f"{one}/imageoncompute/none", {}, expect=404)
    client.refused("POST", f"{one.replace('/1', '/9')}/image", {}, expect=404)
