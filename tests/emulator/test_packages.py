"""What the run's log says about the environment that is not built."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from runner.emulator.packages import differences, notice, pinned


def environment(*dependencies: Any) -> dict[str, Any]:
    return {
        "name": "e",
        "version": "3",
        "docker": {"baseImage": "an/image:1"},
        "python": {"condaDependencies": {"dependencies": list(dependencies)}},
    }


def test_pinned_reads_conda_and_pip() -> None:
    asked = environment(
        "python=3.10.18",
        "conda-forge::pytorch=2.2=cuda",
        "numpy>=1.20",
        "pip",
        {"pip": ["Torch_Vision==0.17", "hydra-core[x]>=1.3", "-r more.txt", "git+https://a/b"]},
    )
    assert list(pinned(asked)) == [
        ("python", "3.10.18"),
        ("torch", "2.2"),
        ("numpy", ""),
        ("torch-vision", "0.17"),
        ("hydra-core", ""),
    ]


@pytest.mark.parametrize(
    ("dependency", "found", "words"),
    [
        ("python=3.10", {}, "Python 3.10, this interpreter is 3.11.7"),
        ("python=3.11", {}, None),
        ("python=3.1", {}, "Python 3.1,"),
        ({"pip": ["torch==2.2"]}, {"torch": "2.2.0+cpu"}, None),
        ({"pip": ["torch==2.2"]}, {"torch": "2.13.0"}, "package 'torch' is 2.13.0 here and 2.2 in the environment"),
        ({"pip": ["torch"]}, {}, "package 'torch' of the environment is missing"),
        ({"pip": ["torch"]}, {"torch": "9"}, None),
    ],
)
def test_differences(dependency: Any, found: dict[str, str], words: str | None) -> None:
    said = list(differences(environment(dependency), "3.11.7", found))
    assert (said == []) if words is None else (len(said) == 1 and words in said[0])


def test_notice_names_the_image_and_the_interpreter() -> None:
    text = notice(environment("nothing-like-this"), sys.executable)
    assert "environment 'e' version '3'" in text
    assert "Azure would use an/image:1" in text
    assert sys.executable in text
    assert "'nothing-like-this' of the environment is missing" in text


def test_an_interpreter_that_does_not_start_is_a_warning() -> None:
    assert "warning: cannot ask /none/python" in notice(environment(), "/none/python")
