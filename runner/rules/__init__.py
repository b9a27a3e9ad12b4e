"""What JSON Schema cannot say: a table of small functions over parts of a configuration.

A rule sees only the keys that it names, without their malformed values, so any of them may be absent. A rule that
could refuse something valid warns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.finding import Finding
from runner.rules import (
    code,
    compute,
    conda,
    distribution,
    env,
    export,
    inputs,
    limits,
    register,
    secret,
    sweep,
    tags,
    workspace,
)
from runner.signatures import check_targets

Check = Callable[[Mapping[str, Any], Path], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`check(values, project)` gets the top-level `keys` and may look at the project's files."""

    check: Check
    keys: tuple[str, ...]


TOP_LEVEL = (
    *("name", "tags", "code", "inputs", "limits", "export", "register", "sweep"),
    *("compute", "env", "distribution", "workspace", "data", "model", "optimizer", "schedule", "trainer", "tracking"),
)

RULES = (
    Rule(compute.reserved_name, ("compute",)),
    Rule(compute.long_name, ("compute",)),
    Rule(compute.what_creating_needs, ("compute",)),
    Rule(compute.node_counts, ("compute",)),
    Rule(compute.known_size, ("compute",)),
    Rule(compute.network, ("compute",)),
    Rule(compute.login, ("compute",)),
    Rule(distribution.fits_cluster, ("compute", "distribution")),
    Rule(distribution.fits_gpus, ("compute", "distribution")),
    Rule(distribution.backend_fits, ("compute", "distribution")),
    Rule(distribution.batch_divides, ("code", "compute", "distribution", "trainer")),
    Rule(distribution.horovod, ("compute", "distribution", "env")),
    Rule(distribution.imports_horovod, ("code", "compute", "env")),
    Rule(env.not_used_here, ("compute", "env")),
    Rule(env.reserved_name, ("env",)),
    Rule(env.curated, ("compute", "env")),
    Rule(env.files, ("compute", "env")),
    Rule(env.images, ("compute", "env")),
    Rule(env.pip, ("compute", "env")),
    Rule(env.variables, ("distribution", "env")),
    Rule(env.shared_memory, ("compute", "env", "data", "trainer")),
    Rule(conda.lint, ("compute", "env")),
    Rule(env.what_training_needs, ("code", "compute", "env")),
    Rule(code.one_of_script_and_command, ("code",)),
    Rule(code.root, ("code",)),
    Rule(code.module, ("code",)),
    Rule(code.script, ("code",)),
    Rule(code.arguments, ("code",)),
    Rule(code.batchai, ("code", "compute", "env")),
    Rule(code.quoting, ("code",)),
    Rule(inputs.complete, ("compute", "inputs")),
    Rule(inputs.files, ("compute", "inputs")),
    Rule(inputs.names, ("inputs",)),
    Rule(inputs.references, ("code", "data", "inputs", "model", "trainer")),
    Rule(limits.duration, ("compute", "limits")),
    Rule(limits.checkpoints, ("code", "compute", "trainer")),
    Rule(sweep.enough, ("sweep",)),
    Rule(sweep.policy, ("sweep",)),
    Rule(sweep.values, ("sweep",)),
    Rule(sweep.metric, ("code", "sweep")),
    Rule(sweep.live, ("code", "compute", "sweep", "tracking")),
    Rule(sweep.names, ("git", "seed", *TOP_LEVEL)),
    Rule(export.packages, ("code", "compute", "env", "export")),
    Rule(register.path, ("register",)),
    Rule(register.written, ("code", "export", "register")),
    Rule(tags.room, ("compute", "tags")),
    Rule(tags.reserved, ("tags",)),
    Rule(workspace.config_file, ("compute", "workspace")),
    Rule(workspace.names, ("compute", "workspace")),
    Rule(workspace.login, ("compute", "workspace")),
    *(Rule(secret.values, (key,)) for key in TOP_LEVEL),
    Rule(check_targets, ("code", "compute", "data", "model", "optimizer")),
)
