"""The end of a run on Azure: its files are kept, why it failed is found out, its model is registered."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.spec import Failure, Plan, Run, State
from runner.targets.azureml_files import keep_logs, keep_outputs, kept_logs
from runner.targets.azureml_models import register
from runner.targets.azureml_states import message_of
from runner.targets.azureml_workspace import Service

EXIT_CODE = re.compile(r"(?:status|exit) code:? (-?\d+)")
TOO_LONG = re.compile(r"(?i)max(?:imum|_)?.{0,12}duration|exceeded.{0,40}(?:duration|time)")
TAIL_BYTES = 1_000_000
SIGNALED = 128


def concluded(service: Service, plan: Plan, run: Run, record: Any) -> Run:
    """The run with all that its end calls for; it is stored as ended only after that."""
    files, notes = history.files(Path(plan.project), run.id), [run.note]
    for keep in (keep_logs, keep_outputs):
        try:
            keep(service, run.id, files)
        except TargetError as error:
            notes.append(str(error))
    ended = judged(plan, run, message_of(record))
    if ended.state is State.COMPLETED and plan.config.get("register"):
        try:
            notes.append(f"registered model {register(service, plan)}")
        except TargetError as error:
            notes.append(str(error))
    return replace(ended, note="; ".join(note for note in notes if note))


def judged(plan: Plan, run: Run, message: str) -> Run:
    """A run that was stopped for taking too long has failed, as here: nobody canceled it."""
    project = Path(plan.project)
    minutes = plan.limits.get("max_minutes")
    asked = history.files(project, run.id).cancel.exists()
    if run.state is State.CANCELED and minutes and not asked and TOO_LONG.search(message):
        failure = Failure(
            f"stopped after {minutes} minutes (limits.max_minutes)",
            advice="raise limits.max_minutes, or resume from its last checkpoint",
        )
        phases = (*run.phases[:-1], (State.FAILED.value, run.phases[-1][1]))
        return replace(run, state=State.FAILED, failure=failure, phases=phases)
    if run.state is State.FAILED:
        return replace(run, failure=without_secrets(diagnosed(plan, run, message), plan))
    return run


def diagnosed(plan: Plan, run: Run, message: str) -> Failure:
    from runner.diagnose import NamedLog, RankEnd, diagnose, examine  # only failures pay for it

    logs = kept_logs(history.files(Path(plan.project), run.id))
    texts = [NamedLog(log.name, log.read(0)[-TAIL_BYTES:].decode("utf-8", "replace")) for log in logs]
    code = exit_code(message)
    ranks = [(log, named.text) for log, named in zip(logs, texts, strict=True) if log.rank is not None]
    if plan.layout.world_size == 1 and ranks and code:
        log, text = ranks[0]
        ended = RankEnd(0, text, log.name, exit_code=code, signal=code - SIGNALED if code > SIGNALED else None)
        return in_logs(diagnose([ended]))
    found = examine(texts)
    if found is None:
        cause = message.strip().splitlines()[0] if message.strip() else "it failed, and Azure gives no reason"
        return Failure(cause, exit_code=code, evidence=message, advice="see the run's page in the portal")
    failure = found.failure
    return in_logs(replace(failure, exit_code=failure.exit_code if failure.exit_code is not None else code))


def exit_code(message: str) -> int | None:
    """The one that the service names; a negative one is a signal."""
    found = EXIT_CODE.search(message)
    code = int(found[1]) if found else None
    return code if code is None or code >= 0 else SIGNALED - code


def in_logs(failure: Failure) -> Failure:
    """The log's path below the run's folder."""
    return replace(failure, log=f"logs/{failure.log}" if failure.log else None)


def without_secrets(failure: Failure, plan: Plan) -> Failure:
    from runner.redact import redact

    values: Sequence[str] = [os.environ[name] for name in plan.secrets if name in os.environ]
    return replace(failure, cause=redact(failure.cause, values), evidence=redact(failure.evidence, values))
