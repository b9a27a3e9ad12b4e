"""Which framework a registered model is of, in Azure's words, and in which version it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner import history
from runner.paths import is_file
from runner.rules.conda import requirements_of
from runner.spec import Plan

PYTORCH, ONNX = "PyTorch", "Onnx"  # azureml.core.Model.Framework
BY_SUFFIX = {".onnx": ONNX}
# The release of ONNX that brought each version of its operators (onnx/onnx, docs/Versioning.md): what the version of an
# Onnx model means to Azure.
RELEASES = {16: "1.11", 17: "1.12", 18: "1.13", 19: "1.14", 20: "1.15"}
TORCH = re.compile(r"(?:py)?torch\s*==?\s*([0-9][0-9A-Za-z.]*)")


def framework_of(plan: Plan) -> tuple[str, str | None]:
    """What `register` says; else by the file's suffix, and the version as far as the plan tells it."""
    asked: Mapping[str, Any] = plan.config["register"]
    framework = asked.get("framework") or BY_SUFFIX.get(PurePosixPath(str(asked["path"])).suffix.lower(), PYTORCH)
    version = asked.get("framework_version") or VERSIONS.get(framework, unknown)(plan)
    return framework, version


def torch_version(plan: Plan) -> str | None:
    """As the conda file pins it that travelled with the run's code."""
    env: Mapping[str, Any] = plan.config.get("env") or {}
    if env.get("kind") not in ("auto", "conda") or not env.get("conda_file"):
        return None
    file = history.snapshot_dir(Path(plan.project), plan.snapshot.digest) / str(env["conda_file"])
    listed = requirements_of(file) if is_file(file) else None
    pinned = map(TORCH.fullmatch, [*map(str, env.get("pip") or ()), *(listed or ())])
    return next((found[1] for found in pinned if found), None)


def onnx_release(plan: Plan) -> str | None:
    """Of what `train` exports; who else writes a file says its version, or nobody."""
    export: Mapping[str, Any] = plan.config.get("export") or {}
    return RELEASES.get(int(export.get("opset") or 0)) if export.get("onnx") else None


def unknown(_plan: Plan) -> None:
    return None


VERSIONS = {PYTORCH: torch_version, ONNX: onnx_release}
