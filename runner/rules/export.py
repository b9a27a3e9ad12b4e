"""What the trained model is exported to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, show, warning
from runner.rules.distribution import holds
from runner.rules.read import on_azure, part

ONNX_NEEDS = ("onnx", "onnxruntime")


def packages(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """A run that cannot export ends when it starts. What a curated environment holds is not known here."""
    code, env = part(values, "code"), part(values, "env")
    if part(values, "export").get("onnx") is not True or not on_azure(values) or env.get("kind") == "curated":
        return
    if code.get("script") or code.get("command") or code.get("module") != "train":
        return
    for name in ONNX_NEEDS:
        if not holds(name, env, project):
            message = f"{show(name)} is not among the packages of the environment"
            yield warning("export.onnx", message, "env.pip='[onnx,onnxruntime]' adds them, or the conda file")
