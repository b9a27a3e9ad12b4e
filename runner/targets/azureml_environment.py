"""The environment: a row per kind, registered under the digest of its content, so that unchanged is not built again."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.finding import meant
from runner.images import base_image
from runner.resources import packaged
from runner.spec import Plan, digest
from runner.targets.azureml_workspace import Service, quiet, say, service_errors, words_of
from runner.vm_sizes import find_size

AUTO_NAME = "amlrun-auto"
VERSION_CHARACTERS = 16
# How the SDK words an answer about an environment: a bare Exception, whose text holds the HTTP status.
STATUS = re.compile(r"\bCode: (\d{3})\b")


class AbsentError(TargetError):
    """The workspace answers, and says that it has no such thing."""


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
    made, known = looked_up(service, wanted_by(plan))
    return known or registered(service, made)


def wanted_by(plan: Plan) -> Wanted:
    """Files come from the staged code where it has them: that is what was planned."""
    return wanted_of(plan.config, Path(plan.project), history.snapshot_dir(Path(plan.project), plan.snapshot.digest))


def wanted_of(config: Mapping[str, Any], project: Path, staged: Path | None = None) -> Wanted:
    """Before the code is staged, its files are those under `code.root`; what a project lacks comes with amlrun."""
    env, root = config["env"], (config.get("code") or {}).get("root") or "."
    size = find_size(str(config["compute"].get("vm_size") or ""))
    asked = str(env.get("image") or "auto")
    image = base_image(gpus=1.0 if size is None else size.gpus) if asked == "auto" else asked
    folders = (staged, project / str(root), project, packaged("configs").parent)
    return Wanted(env, image, tuple(folder for folder in folders if folder))


def looked_up(service: Service, wanted: Wanted) -> tuple[Any, Any | None]:
    """The environment as it would be sent, and as the workspace has it: None where it has not. Read-only."""
    with refusals(f"the environment '{wanted.name}' cannot be used"), quiet():
        made = KINDS[str(wanted.env["kind"])](service, wanted)
    if made.version:  # it is the workspace's own
        return made, made
    made.environment_variables = {}
    made.version = digest(content_of(made))[:VERSION_CHARACTERS]
    return made, known_version(service, made.name, made.version)


def conda(_service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    made = Environment.from_conda_specification(wanted.name, str(wanted.file("conda_file")))
    made.docker.base_image = wanted.image
    add_packages(made, wanted.env)
    return made


def curated(service: Service, wanted: Wanted) -> Any:
    return there(service, wanted.name, wanted.env.get("version"))


def clone(service: Service, wanted: Wanted) -> Any:
    origin = there(service, str(wanted.env["clone_of"]), wanted.env.get("version"))
    made = origin.clone(wanted.name)
    pip = wanted.env.get("pip") or ()
    if origin.python.user_managed_dependencies and pip:
        # Its packages are in the image, not in a conda list: a conda list would make a second, empty Python.
        made.docker.base_dockerfile = from_image_with(origin, pip)
    else:
        add_packages(made, wanted.env)
    return made


def image(_service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    made = Environment(wanted.name)
    made.docker.base_image = wanted.image
    own_python(made, wanted)
    registry = wanted.env.get("registry") or {}
    made.docker.base_image_registry.address = registry.get("address")
    made.docker.base_image_registry.username = registry.get("username")
    if registry.get("password_secret"):
        made.docker.base_image_registry.password = os.environ.get(str(registry["password_secret"]))
    return made


def dockerfile(_service: Service, wanted: Wanted) -> Any:
    from azureml.core import Environment

    conda_file = str(wanted.file("conda_file")) if wanted.env.get("conda_file") else None
    text = wanted.file("dockerfile").read_text(encoding="utf-8")
    made = Environment.from_dockerfile(wanted.name, text, conda_specification=conda_file)
    if conda_file is None:
        own_python(made, wanted)
    return made


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
    """That environment as the workspace knows it from now on."""
    from azureml.core import Environment

    say(f"registering environment '{made.name}' version {made.version}; Azure builds it once")
    with refusals(f"the environment '{made.name}' cannot be registered"), quiet():
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


def there(service: Service, name: str, version: str | None) -> Any:
    """An environment that the workspace has. Raises TargetError: where it has none, with what it has."""
    found = known_version(service, name, version)
    if found is not None:
        return found
    newest = {row["name"]: row["version"] for row in listed(service)}
    if name in newest:
        what, hint = f"'{name}' with version '{version}'", f"the newest is '{newest[name]}'"
    else:
        what, hint = f"'{name}'", meant(name, newest) or "'amlrun env list' shows what there is"
    raise AbsentError(f"no environment {what} in workspace '{service.workspace.name}'; {hint}")


def known_version(service: Service, name: str, version: str | None) -> Any | None:
    """None only where the workspace says that it has no such version."""
    from azureml.core import Environment

    with refusals(f"cannot ask for the environment '{name}'"), quiet():
        try:
            return Environment.get(service.workspace, name, version=version)
        except Exception as error:
            # Only the status tells: other refusals, too, say in their text that something was not found.
            if is_answer(error) and status_in(error) == "404":
                return None
            raise


def listed(service: Service) -> list[dict[str, Any]]:
    """Every environment of the workspace in its newest version, Azure's own last."""
    from azureml.core import Environment

    with refusals("cannot list the environments"), quiet():
        found = Environment.list(service.workspace)
    rows = [{"name": name, "version": item.version, "curated": is_curated(name)} for name, item in found.items()]
    return sorted(rows, key=lambda row: (row["curated"], row["name"]))


def is_curated(name: str) -> bool:
    """Azure keeps these prefixes for itself."""
    return name.lower().startswith(("azureml", "microsoft"))


def is_answer(error: BaseException) -> bool:
    """The SDK's client of environments has no exception class of its own."""
    return type(error) is Exception


def status_in(error: BaseException) -> str:
    found = STATUS.search(str(error))
    return found[1] if found else ""


@contextlib.contextmanager
def refusals(doing: str) -> Iterator[None]:
    """As `service_errors`, for the bare exceptions of this client too."""
    try:
        with service_errors(doing):
            yield
    except Exception as error:
        if not is_answer(error):
            raise
        raise TargetError(f"{doing}: {words_of(error).removeprefix('Exception: ')}") from error
