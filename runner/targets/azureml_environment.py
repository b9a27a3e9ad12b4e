"""The environment: a row per kind, registered under the digest of its content, so that unchanged is not built again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.images import base_image
from runner.spec import Plan, digest
from runner.targets.azureml_workspace import Service, quiet, say, service_errors
from runner.vm_sizes import find_size

AUTO_NAME = "amlrun-auto"
VERSION_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """An environment as a plan asks for it. `folders` are where its files are looked for, in order."""

    env: Mapping[str, Any]
    image: str
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        return str(self.env.get("name") or AUTO_NAME)

    def file(self, key: str) -> Path:
        for folder in self.folders:
            if (folder / str(self.env[key])).is_file():
                return folder / str(self.env[key])
        raise TargetError(f"env.{key}: no file '{self.env[key]}' in the code or the project; it was removed since")


def environment_of(service: Service, plan: Plan) -> Any:
    """The registered environment of a plan. Raises TargetError."""
    wanted = wanted_by(plan)
    with service_errors(f"the environment '{wanted.name}' cannot be used"), quiet():
        return KINDS[str(wanted.env["kind"])](service, wanted)


def wanted_by(plan: Plan) -> Wanted:
    """Files come from the staged code where it has them: that is what was planned."""
    env = plan.config["env"]
    size = find_size(str(plan.config["compute"].get("vm_size") or ""))
    asked = str(env.get("image") or "auto")
    image = base_image(gpus=1.0 if size is None else size.gpus) if asked == "auto" else asked
    project = Path(plan.project)
    return Wanted(env, image, (history.snapshot_dir(project, plan.snapshot.digest), project))


def conda(service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    made = Environment.from_conda_specification(wanted.name, str(wanted.file("conda_file")))
    made.docker.base_image = wanted.image
    add_packages(made, wanted.env)
    return registered(service, made)


def curated(service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    return Environment.get(service.workspace, wanted.name, version=wanted.env.get("version"))


def clone(service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    origin = Environment.get(service.workspace, str(wanted.env["clone_of"]), version=wanted.env.get("version"))
    made = origin.clone(wanted.name)
    pip = wanted.env.get("pip") or ()
    if origin.python.user_managed_dependencies and pip:
        # Its packages are in the image, not in a conda list: a conda list would make a second, empty Python.
        made.docker.base_dockerfile = from_image_with(origin, pip)
    else:
        add_packages(made, wanted.env)
    return registered(service, made)


def image(service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    made = Environment(wanted.name)
    made.docker.base_image = wanted.image
    own_python(made, wanted)
    registry = wanted.env.get("registry") or {}
    made.docker.base_image_registry.address = registry.get("address")
    made.docker.base_image_registry.username = registry.get("username")
    if registry.get("password_secret"):
        made.docker.base_image_registry.password = os.environ.get(str(registry["password_secret"]))
    return registered(service, made)


def dockerfile(service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    conda_file = str(wanted.file("conda_file")) if wanted.env.get("conda_file") else None
    text = wanted.file("dockerfile").read_text(encoding="utf-8")
    made = Environment.from_dockerfile(wanted.name, text, conda_specification=conda_file)
    if conda_file is None:
        own_python(made, wanted)
    return registered(service, made)


KINDS: Mapping[str, Callable[[Service, Wanted], Any]] = {
    "auto": conda,
    "conda": conda,
    "curated": curated,
    "clone": clone,
    "image": image,
    "dockerfile": dockerfile,
}


def own_python(made: Any, wanted: Wanted) -> None:
    """The image's own interpreter: nothing is installed into it."""
    made.python.user_managed_dependencies = True
    made.python.interpreter_path = str(wanted.env.get("python") or "python")


def add_packages(made: Any, env: Mapping[str, Any]) -> None:
    for package in env.get("pip") or ():
        made.python.conda_dependencies.add_pip_package(package)


def from_image_with(origin: Any, pip: Any) -> str:
    if not (origin.docker.base_dockerfile or origin.docker.base_image):
        raise TargetError(f"env.clone_of: '{origin.name}' has no image to build on; use env=image or env=dockerfile")
    base = origin.docker.base_dockerfile or f"FROM {origin.docker.base_image}"
    return f"{base}\nRUN pip install --no-cache-dir {' '.join(pip)}\n"


def registered(service: Service, made: Any) -> Any:
    """That environment as the workspace knows it; registered only if this content never was."""
    from azureml.core import Environment

    made.environment_variables = {}
    made.version = digest(content_of(made))[:VERSION_CHARACTERS]
    known = known_version(service, made.name, made.version)
    if known is not None:
        return known
    say(f"registering environment '{made.name}' version {made.version}; Azure builds it once")
    done = made.register(service.workspace)
    return done if done.version else Environment.get(service.workspace, made.name, version=made.version)


def content_of(made: Any) -> dict[str, Any]:
    """What decides the image. A registry's password does not."""
    conda_list = made.python.conda_dependencies
    return {
        "image": made.docker.base_image,
        "dockerfile": made.docker.base_dockerfile,
        "registry": made.docker.base_image_registry.address,
        "own_python": made.python.user_managed_dependencies,
        "interpreter": made.python.interpreter_path,
        "conda": None if made.python.user_managed_dependencies else conda_list.serialize_to_string(),
    }


def known_version(service: Service, name: str, version: str) -> Any | None:
    """None where the workspace has no such version; the SDK raises a bare Exception for every other answer too."""
    from azureml.core import Environment

    try:
        return Environment.get(service.workspace, name, version=version)
    except Exception as error:  # it has no class of its own, so the text decides
        if "404" in str(error) or "NotFound" in str(error) or "not found" in str(error).lower():
            return None
        raise TargetError(f"cannot ask for the environment '{name}': {error}") from error
