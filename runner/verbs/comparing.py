"""diff, and `plan --diff`: what sets two plans apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from runner import describe, history
from runner.compare import code_differences, differences
from runner.project import find_project
from runner.spec import Plan
from runner.verbs.remote import find_run


def diff(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    old, new = (history.load_plan(project, find_run(project, name).id) for name in (args.old, args.new))
    print(comparison(project, old, new, as_json=args.json))
    return 0


def comparison(project: Path, old: Plan, new: Plan, *, as_json: bool) -> str:
    """The differences of two plans, as text or as JSON."""
    found = differences(old, new)
    code = code_differences(project, old, new)
    if not as_json:
        return describe.differences_text(old.id, new.id, found, code)
    rows: list[dict[str, Any]] = [{"path": item.path, "old": item.old, "new": item.new} for item in found]
    return json.dumps({"old": old.id, "new": new.id, "differences": rows, "code": code}, indent=2)
