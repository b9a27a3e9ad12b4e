"""The model to register: Azure keeps what lies under outputs/ only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner.finding import Finding, error, show, warning
from runner.paths import is_file, resolved
from runner.rules.read import part
from runner.sources import Module, find_module, parse

WRITTEN_BY_TRAIN = (
    *("outputs/model.pt", "outputs/best.pt", "outputs/checkpoints", "outputs/metrics.jsonl"),
    "outputs/evaluation",
)
ONNX = "outputs/model.onnx"


def path(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    name = part(values, "register").get("path")
    if not isinstance(name, str):
        return
    parts = PurePosixPath(name).parts
    if parts[:1] != ("outputs",) or ".." in parts or len(parts) < 2:
        message = f"{show(name)} is not under outputs/, and nothing else of a run is kept"
        yield error("register.path", message, f"for example outputs/{PurePosixPath(name).name or 'model.pt'}")


def written(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """Whether what runs can be seen to write it: by what `train` is known to write, or the script's own text."""
    code, name = part(values, "code"), part(values, "register").get("path")
    if not isinstance(name, str) or code.get("command") or not name.startswith("outputs/") or ".." in name:
        return
    if not code.get("script"):
        if code.get("module") == "train" and name == ONNX:
            if part(values, "export").get("onnx") is not True:
                yield warning("register.path", f"{show(name)} is not written", "set export.onnx=true")
        elif code.get("module") == "train" and not name.startswith(WRITTEN_BY_TRAIN):
            hint = f"use {', '.join(WRITTEN_BY_TRAIN)}"
            yield warning("register.path", f"{show(name)} is nothing that train writes", hint)
        return
    root = resolved(project / str(code.get("root") or "."))
    file = root / str(code["script"])
    texts = [text_of(file), *(text_of(module.file) for module in imported_modules(file, root))]
    if is_file(file) and not any(PurePosixPath(name).name in text or "outputs" in text for text in texts):
        message = f"{show(str(code['script']))} names neither outputs nor {show(PurePosixPath(name).name)}"
        yield warning("register.path", message, "let it write there, or correct the path")


def imported_modules(file: Path, root: Path) -> list[Module]:
    """Modules of the project that a script imports by name, one step deep."""
    nodes = list(ast.walk(parse(file) or ast.Module([], [])))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [module for name in names if (module := find_module(name, (root,))) is not None and is_file(module.file)]


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if is_file(file) else ""
