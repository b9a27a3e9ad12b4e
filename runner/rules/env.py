"""The environment on Azure: images, curated environments, files, packages, variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, meant, show, warning
from runner.images import CURRENT_CURATED, SUPPORTED, pinned, retired_curated, unsupported
from runner.paths import is_file, listed
from runner.resources import packaged
from runner.rules.conda import UNPINNED, requirements_of
from runner.rules.read import on_azure, part

RESERVED = ("azureml", "microsoft")  # docs: environment names with these prefixes belong to Azure
OWN_NAME = ("conda", "image", "dockerfile", "clone")
TRAINING_NEEDS = ("hydra-core", "omegaconf", "torch")
FILES = (("conda_file", ("auto", "conda", "dockerfile")), ("dockerfile", ("dockerfile",)))
# Set by the launcher for each process.
LAUNCHER_VARIABLES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
BYTES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# A Dockerfile that installs what other files list, or starts from an image that may hold anything.
FROM_ELSEWHERE = re.compile(
    r"-r\s|-r[\w./-]+\.(?:txt|in)\b|--requirement|\.ya?ml\b|\binstall\s+(?:-e\s+)?\.|\bpoetry\b|\buv\s+sync\b"
    r"|^FROM\s+(?:--platform=\S+\s+)?(?!mcr\.microsoft\.com/azureml/openmpi|--platform)",
    re.MULTILINE | re.IGNORECASE,
)
ENOUGH_SHARED_MEMORY = 4 << 30  # Docker's 2g on Azure is what MachineLearningNotebooks#560 ran out of


def not_used_here(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    kind = part(values, "env").get("kind")
    if part(values, "compute").get("kind") == "local" and kind not in (None, "auto"):
        message = f"{show(kind)} holds on Azure only: here the interpreter that runs amlrun is used"
        yield warning("env.kind", message, "choose env=auto, or a compute on Azure")


def reserved_name(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    env = part(values, "env")
    name = str(env.get("name") or "")
    if env.get("kind") in OWN_NAME and name.lower().startswith(RESERVED):
        yield error("env.name", f"{show(name)} starts with a prefix that Azure keeps for itself", "choose another name")


def curated(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    env = part(values, "env")
    key = {"curated": "name", "clone": "clone_of"}.get(str(env.get("kind")), "")
    name = env.get(key)
    if not name or not on_azure(values):
        return
    if retired_curated(name):
        yield warning(f"env.{key}", f"{show(name)} was retired", f"use {CURRENT_CURATED}")
    elif not name.lower().startswith(RESERVED):
        hint = meant(name, [CURRENT_CURATED]) or f"for example {CURRENT_CURATED}"
        yield warning(f"env.{key}", f"{show(name)} does not look like an environment of Azure's own", hint)
    if "version" in env and env["version"] in (None, "latest"):
        message = "not pinned: the environment changes under its name"
        yield warning("env.version", message, "give the version that you tried")


def files(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """A Dockerfile that is not there would be taken as the Dockerfile's text by azureml-core."""
    env = part(values, "env")
    for key, kinds in FILES:
        name = env.get(key)
        if name and env.get("kind") in kinds and on_azure(values) and find_file(name, project) is None:
            beside = (project / name).parent
            there = [p.name for p in listed(beside, "*") if is_file(p)]
            hint = meant(Path(name).name, there) or "it is relative to the project"
            yield error(f"env.{key}", f"no file {show(name)}", hint)


def find_file(name: str, project: Path) -> Path | None:
    """A file of the project, or the packaged one of the same name."""
    for path in (project / name, packaged("configs").parent / name):
        if is_file(path):
            return path
    return None


def images(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    image = part(values, "env").get("image")
    if not image or image == "auto" or not on_azure(values):
        return
    if unsupported(image):
        yield warning("env.image", f"{show(image)} gets no patches any more", f"use auto, or {SUPPORTED[-3]}")
    elif not pinned(image):
        yield warning("env.image", f"{show(image)} is not pinned", "name a tag other than latest, or a digest")


def pip(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    for index, requirement in enumerate(part(values, "env").get("pip") or ()):
        if on_azure(values) and UNPINNED.fullmatch(requirement.strip()):
            hint = f"write {requirement.strip()}==VERSION"
            yield warning(f"env.pip.{index}", f"{show(requirement)} is not pinned", hint)


def variables(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    env = part(values, "env")
    for name in part(env, "variables"):
        if name in LAUNCHER_VARIABLES or name.startswith(("OMPI_COMM_WORLD_", "AMLRUN_")):
            message = "set for each process by its launcher"
            yield warning(f"env.variables.{name}", message, "remove it")
        if name in (env.get("secrets") or ()):
            yield error(f"env.variables.{name}", "also in env.secrets", "keep it in one of them")


def shared_memory(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    size = part(values, "env").get("shm_size")
    workers = [part(values, group).get(key) for group in ("data", "trainer") for key in ("workers", "num_workers")]
    used = any(isinstance(count, int) and count > 0 for count in workers)
    if size and used and on_azure(values) and int(size[:-1]) * BYTES[size[-1]] < ENOUGH_SHARED_MEMORY:
        message = f"{show(size)} is little for loading data in worker processes: they die of a bus error"
        yield warning("env.shm_size", message, "use 16g")


def what_training_needs(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """Only where the packages can be seen: conda files, Dockerfiles and pip lists."""
    code, env = part(values, "code"), part(values, "env")
    if code.get("script") or code.get("command") or code.get("module") != "train" or not on_azure(values):
        return
    named = packages_named(env, project)
    missing = [need for need in TRAINING_NEEDS if named is not None and need not in named]
    if missing:
        message = f"'python -m train' needs {', '.join(missing)}, which this environment does not list"
        hint = "use env=clone, which adds them" if env.get("kind") == "curated" else "add what is missing"
        yield warning("env.kind" if env.get("kind") == "curated" else f"env.{source_of(env)}", message, hint)


def source_of(env: Mapping[str, Any]) -> str:
    return next((key for key in ("conda_file", "dockerfile", "pip") if env.get(key)), "kind")


def packages_named(env: Mapping[str, Any], project: Path) -> set[str] | None:
    """Names of the packages that the environment is known to install, None where that cannot be seen."""
    kind = env.get("kind")
    if kind not in ("auto", "conda", "dockerfile", "curated", "clone"):
        return None
    named = {bare(item) for item in env.get("pip") or ()}
    if kind in ("curated", "clone"):
        return named | {"torch"} if "pytorch" in str(env.get("name", "")) + str(env.get("clone_of", "")) else None
    for key in ("conda_file", "dockerfile"):
        path = find_file(str(env[key]), project) if env.get(key) else None
        found = READERS[key](path) if path else None
        if env.get(key) and found is None:
            return None
        named |= found or set()
    return named


def bare(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return found[0].lower().replace("_", "-") if found else ""


def named_in_conda(path: Path) -> set[str] | None:
    found = requirements_of(path)
    return None if found is None or any(item.startswith("-") for item in found) else {bare(item) for item in found}


def named_in_dockerfile(path: Path) -> set[str] | None:
    """Words of the file; None where it installs from other files, or starts from an image that may hold anything."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if FROM_ELSEWHERE.search(text):
        return None
    return {bare(word.strip("'\"")) for word in text.split()}


READERS = {"conda_file": named_in_conda, "dockerfile": named_in_dockerfile}
