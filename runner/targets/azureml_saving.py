"""An environment as files: for the SDK (`Environment.load_from_directory`), and for env=dockerfile and env=conda."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import TargetError
from runner.targets.azureml_workspace import quiet

# Names that `Environment.save_to_directory` gives (azureml-core 1.61), and the Dockerfile that is ours.
CONDA, BASE_DOCKERFILE, DEFINITION = "conda_dependencies.yml", "BaseDockerfile", "azureml_environment.json"
DOCKERFILE = "Dockerfile"
OURS = (CONDA, BASE_DOCKERFILE, DEFINITION, DOCKERFILE)


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written, and the overrides that build on it."""

    name: str
    version: str
    files: tuple[Path, ...]
    overrides: tuple[str, ...]

    @property
    def use(self) -> str:
        return " ".join(shlex.quote(item) for item in self.overrides)

    def as_json(self) -> dict[str, Any]:
        rest = {"files": [str(path) for path in self.files], "overrides": list(self.overrides)}
        return {"name": self.name, "version": self.version, **rest}


def saved(environment: Any, folder: Path, project: Path) -> Saved:
    """Write it below `folder`. What an earlier save left and this one does not have is removed: the SDK would read it.

    Raises TargetError where it is made of something that only the service has.
    """
    text = dockerfile_of(environment)
    environment.docker.base_image_registry.password = None
    with tempfile.TemporaryDirectory() as place, quiet():
        environment.save_to_directory(place, overwrite=True)
        (Path(place) / DOCKERFILE).write_text(text, encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        written = [Path(shutil.move(path, folder / path.name)) for path in sorted(Path(place).iterdir())]
    has_conda = not environment.python.user_managed_dependencies and (folder / CONDA).is_file()
    return Saved(
        str(environment.name), str(environment.version), tuple(written), overrides_of(folder, project, conda=has_conda)
    )


def dockerfile_of(environment: Any) -> str:
    """The lines that its image begins with: its own Dockerfile, or the image that it is based on."""
    docker = environment.docker
    if docker.base_dockerfile:
        return str(docker.base_dockerfile)
    if not docker.base_image:
        raise TargetError(
            f"environment '{environment.name}' is built from a folder that only the service has; "
            "use it by its name (env=curated), or build on it (env=clone)"
        )
    return f"FROM {docker.base_image}\n"


def overrides_of(folder: Path, project: Path, *, conda: bool) -> tuple[str, ...]:
    """Files are named from the project on, as env.dockerfile takes them."""
    where = folder.resolve()
    inside = where.relative_to(project) if where.is_relative_to(project) else where
    files = [f"env.dockerfile={inside / DOCKERFILE}", *([f"env.conda_file={inside / CONDA}"] if conda else [])]
    return ("env=dockerfile", *files)
