"""What a run's environment pins, against what the interpreter has: nothing is built here, so the log must say so."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from runner.emulator.checking import rows, section

LIST = (
    "import json, sys; del sys.path[0];"  # the current folder, which is not the job's
    "import importlib.metadata as m;"
    "print(json.dumps([sys.version.split()[0], {d.metadata['Name']: d.version for d in m.distributions()}]))"
)
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:={2,3}\s*([^\s;,]+))?")
CONDA = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*)\s*(?:={1,2}\s*([^\s=,]+))?")
# Conda's names for what pip calls otherwise, and what is no Python package at all.
CONDA_NAMES = {"pytorch": "torch"}
NOT_PYTHON = frozenset({"python", "pip", "cudatoolkit", "openmpi", "gcc", "gxx", "git"})


def installed(python: str) -> tuple[str, dict[str, str]]:
    """(Python's version, distribution -> version) of an interpreter."""
    done = subprocess.run([python, "-E", "-c", LIST], capture_output=True, text=True, timeout=60, check=True)
    version, found = json.loads(done.stdout)
    return version, {normal(name): number for name, number in found.items() if name}


def notice(environment: Mapping[str, Any], python: str) -> str:
    """The text of the run's image build log: what Azure would build, what runs instead, and how they differ."""
    docker = environment.get("docker") or {}
    image = docker.get("baseImage") or "an image from a Dockerfile"
    lines = [
        f"amlrun emulator: environment '{environment.get('name')}' version '{environment.get('version')}'",
        f"No image is built. Azure would use {image}; here the run uses the interpreter {python}",
    ]
    try:
        version, found = installed(python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return "\n".join([*lines, f"warning: cannot ask {python} what it has: {error}", ""])
    lines.append(f"Python {version}")
    return "\n".join([*lines, *differences(environment, version, found), ""])


def differences(environment: Mapping[str, Any], python: str, found: Mapping[str, str]) -> Iterator[str]:
    for name, wanted in pinned(environment):
        if name == "python":
            if wanted and not (python + ".").startswith(wanted.rstrip(".*") + "."):
                yield f"warning: the environment has Python {wanted}, this interpreter is {python}"
        elif name not in found:
            yield f"warning: package '{name}' of the environment is missing in this interpreter"
        elif wanted and not matches(found[name], wanted):
            yield f"warning: package '{name}' is {found[name]} here and {wanted} in the environment"


def matches(have: str, wanted: str) -> bool:
    """`1.2.*` and conda's `1.2` mean any 1.2; a local part such as +cpu does not count."""
    have, wanted = have.partition("+")[0], wanted.rstrip("*").rstrip(".")
    return have == wanted or have.startswith(wanted + ".")


def pinned(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, version or '') of everything that the conda section asks for. Raises ServiceError (400) if it is none."""
    conda = section(section(environment.get("python"), "python").get("condaDependencies"), "condaDependencies")
    for item in rows(conda.get("dependencies"), "the dependencies of the conda section"):
        if isinstance(item, Mapping):
            for requirement in rows(item.get("pip"), "pip in the conda section"):
                yield from parsed(str(requirement))
        else:
            name, version = conda_parts(str(item))
            if name == "python" or (name and name not in NOT_PYTHON):
                yield CONDA_NAMES.get(name, name), version


def conda_parts(item: str) -> tuple[str, str]:
    """`channel::name=version=build`; a range (`>=1`) is no version that could be compared."""
    found = CONDA.match(item.rpartition("::")[2].strip())
    return (normal(found[1]), found[2] or "") if found else ("", "")


def parsed(requirement: str) -> Iterator[tuple[str, str]]:
    """Options and addresses (`-r file`, `git+https://...`) have no name to look for."""
    if not requirement.startswith("-") and "://" not in requirement and (found := REQUIREMENT.match(requirement)):
        yield normal(found[1]), found[2] or ""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
