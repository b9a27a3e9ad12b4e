"""doctor: whether this machine, the project and its workspace are ready for a run. Nothing is made, started or sent."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# What needs a package is imported by the check that uses it: a missing one is a line of the report.
from runner.answers import Answer, Standing, not_asked, refused
from runner.errors import ConfigError, TargetError
from runner.git_state import git_state
from runner.project import find_project
from runner.redact import redact
from runner.requirements import Requirement, pythons, requirements
from runner.spec import Job

if TYPE_CHECKING:
    from runner.targets.azureml_online import Question
    from runner.targets.azureml_workspace import Service

LOCAL, ASKED = "local", "azureml"
# Logins that would open a browser.
PROMPTING = ("interactive",)


@dataclass(slots=True)
class Subject:
    """What is looked at. A check that finds something puts it here for those that need it."""

    args: argparse.Namespace
    project: Path = Path()
    job: Job | None = None
    service: Service | None = None

    @property
    def found(self) -> Job:
        assert self.job is not None  # only asked after the check that sets it went well
        return self.job

    @property
    def target(self) -> str:
        return self.job.target if self.job else ""

    @property
    def question(self) -> Question:
        from runner.targets.azureml_online import Question

        return Question(self.project, self.found.config.values, self.found.distribution.nodes)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what it is about, who answers, and which checks have to go well before it."""

    about: str
    ask: Callable[[Subject], Answer]
    needs: tuple[str, ...] = ()


def doctor(args: argparse.Namespace) -> int:
    """Exit code 4 where something is missing or refuses to answer."""
    found = examined(Subject(args))
    if args.json:
        rows = [{key: value for key, value in item.as_json().items() if key != "facts"} for item in found]
        print(redact(json.dumps({"checks": rows}, indent=2)))
    else:
        shown = [item for item in found if not args.quiet or item.standing is not Standing.OK]
        width = max(len(item.about) for item in found)
        lines = [f"{item.about:<{width}}  {item.standing.value:<9}  {item}" for item in shown]
        print(redact("\n".join(lines)), end="\n" * bool(lines))
    return TargetError.exit_code if any(item.standing.stops for item in found) else 0


def examined(subject: Subject) -> list[Answer]:
    """Every check in order: those of this machine and project, then, where runs go there, those of the workspace."""
    found = checked(HERE, subject)
    closed = why_not_online(subject)
    return [*found, not_asked("workspace", closed)] if closed else [*found, *checked(THERE, subject, found)]


def checked(checks: Sequence[Check], subject: Subject, before: Sequence[Answer] = ()) -> list[Answer]:
    """What depends on a check that did not go well is not asked; the others go on."""
    found = list(before)
    for check in checks:
        bad = [item.about for item in found if item.about in check.needs and not went_well(item)]
        found.append(not_asked(check.about, f"'{bad[0]}' comes first") if bad else answer(check, subject))
    return found[len(before) :]


def went_well(item: Answer) -> bool:
    return item.standing in (Standing.OK, Standing.WARNING)


def answer(check: Check, subject: Subject) -> Answer:
    try:
        return check.ask(subject)
    except TargetError as error:
        return refused(check.about, error)


def why_not_online(subject: Subject) -> str:
    """'' where the workspace is to be asked."""
    if subject.args.offline:
        return "--offline"
    if subject.target == LOCAL:
        return "runs stay on this machine (compute.kind is local)"
    if subject.target not in ("", ASKED):
        return f"runs of '{subject.target}' are planned only; workspace.sdk=v1 is asked"
    return ""


def python(_subject: Subject) -> Answer:
    version, tested = ".".join(str(part) for part in sys.version_info[:3]), pythons()
    if tested and f"{sys.version_info[0]}.{sys.version_info[1]}" not in tested:
        return Answer("python", Standing.WARNING, f"{version} is not tested", f"take one of {', '.join(tested)}")
    return Answer("python", Standing.OK, f"{version} ({sys.executable})")


def packages(_subject: Subject) -> Answer:
    needed = requirements()
    if not needed:
        return Answer("packages", Standing.WARNING, "amlrun is not installed here", "pip install amlrun, in its folder")
    return installed("packages", needed, "pip install amlrun")


def installed(about: str, needed: Sequence[Requirement], command: str, absent: Standing = Standing.MISSING) -> Answer:
    """What is absent stops; another version may do, but nobody has tried."""
    lacking = [item for item in needed if item.installed is None]
    if lacking:
        names = ", ".join(f"{item.name} {item.versions}".strip() for item in lacking)
        return Answer(about, absent, f"not installed: {names}", command)
    odd = [item for item in needed if not item.fits]
    if odd:
        names = ", ".join(f"{item.name} {item.installed} (not {item.versions})" for item in odd)
        return Answer(about, Standing.WARNING, f"other versions than tested: {names}", command)
    return Answer(about, Standing.OK, ", ".join(f"{item.name} {item.installed}" for item in needed))


def project(subject: Subject) -> Answer:
    try:
        subject.project = find_project(subject.args.project, Path.cwd())
    except ConfigError as error:
        [problem] = error.problems
        return Answer("project", Standing.MISSING, f"{problem.place}: {problem.message}", problem.hint)
    return Answer("project", Standing.OK, str(subject.project))


def configuration(subject: Subject) -> Answer:
    from runner import pipeline

    try:
        jobs, warnings = pipeline.validated(pipeline.Request(subject.project, subject.args.overrides))
    except ConfigError as error:
        stops = [item for item in error.problems if item.severity == "error"]
        hint = "'amlrun validate' with the same overrides lists all"
        return Answer("configuration", Standing.MISSING, f"{len(stops)} problems, the first: {stops[0]}", hint)
    subject.job = jobs[0]
    if warnings:
        return Answer("configuration", Standing.WARNING, f"valid; {warnings[0]}", "'amlrun validate' shows all")
    return Answer("configuration", Standing.OK, f"valid, for target '{subject.target}'")


def git(subject: Subject) -> Answer:
    if shutil.which("git") is None:
        hint = "install git: without it no run can be traced to its code"
        return Answer("git", Standing.WARNING, "not on PATH", hint)
    state = git_state(subject.project)
    if state.commit is None:
        hint = "git init, git add, git commit: a run is traced to its commit"
        return Answer("git", Standing.WARNING, "the project is in no repository, or has no commit", hint)
    dirty = f"{len(state.dirty)} files not committed" if state.dirty else "clean"
    return Answer("git", Standing.OK, f"{state.commit[:12]} on {state.branch or 'no branch'}, {dirty}")


def torch(subject: Subject) -> Answer:
    """A run here with the starter's training needs it; on Azure the environment brings its own."""
    trains = subject.target == LOCAL and subject.found.code.kind == "module"
    found = installed("torch", requirements("train"), "pip install 'amlrun[train]'")
    return found if trains else unneeded(found, "only 'python -m train' on this machine needs it")


def mpi(subject: Subject) -> Answer:
    from runner import processes

    where = processes.find_program(sys.executable, "mpirun")
    found = Answer("mpi", Standing.OK, str(where)) if where else None
    found = found or Answer("mpi", Standing.MISSING, "no mpirun", "pip install 'amlrun[mpi]'")
    uses = subject.target == LOCAL and subject.found.distribution.kind == "mpi"
    return found if uses else unneeded(found, "only distribution=mpi on this machine needs it")


def unneeded(found: Answer, why: str) -> Answer:
    return Answer(found.about, Standing.OK, f"{found.text}: {why}") if found.standing.stops else found


def azureml_core(subject: Subject) -> Answer:
    found = installed("azureml-core", requirements("azure"), "pip install 'amlrun[azure]'")
    return found if subject.target == ASKED else unneeded(found, "only runs on Azure ML need it")


def names(subject: Subject) -> Answer:
    """Which workspace, and what says so."""
    return NAMES[str(subject.found.workspace["kind"])](subject)


def azure_names(subject: Subject) -> Answer:
    from runner.emulator.instance import find_config
    from runner.targets.azureml_names import NAMES as KEYS
    from runner.targets.azureml_names import names_of

    settings, said = subject.found.workspace, "the configuration"
    try:
        found = names_of(subject.project, settings)
    except TargetError as error:
        return refused("names", error, Standing.MISSING)
    if not all(settings.get(key) for key in KEYS):
        asked = settings.get("config")
        said = f"'{subject.project / str(asked) if asked else find_config(subject.project)}'"
    return Answer("names", Standing.OK, f"{said} names '{found['name']}' in group '{found['resource_group']}'")


def emulator_names(subject: Subject) -> Answer:
    """An emulator is not started for a look."""
    from runner.emulator import instance

    asked = subject.found.workspace.get("dir")
    folder = subject.project / str(asked) if asked else instance.folder_or(subject.project / ".runs" / "emulator")
    running = instance.running(folder)
    if running is None:
        return not_asked("names", f"no emulator serves '{folder}' now; 'amlrun run' or 'amlrun emulator start' does")
    return Answer("names", Standing.OK, f"the emulator at {running.origin}")


def login(subject: Subject) -> Answer:
    return LOGINS[str(subject.found.workspace["kind"])](subject)


def azure_login(subject: Subject) -> Answer:
    from runner.targets.azureml_workspace import AUTH, import_sdk, quiet, service_errors

    asked = subject.found.workspace.get("auth") or {}
    kind, cloud = str(asked.get("kind")), str(subject.found.workspace.get("cloud") or "AzureCloud")
    if kind in PROMPTING:
        return not_asked("login", f"auth.kind '{kind}' may open a browser; 'amlrun plan --online' asks all the same")
    import_sdk()
    with service_errors(f"auth.kind '{kind}' cannot log in"), quiet():
        AUTH[kind](asked, cloud).get_authentication_header()
    return Answer("login", Standing.OK, f"auth.kind '{kind}' gets a token")


def emulator_login(_subject: Subject) -> Answer:
    return Answer("login", Standing.OK, "the emulator's own")


def workspace(subject: Subject) -> Answer:
    from runner.targets.azureml_online import reach

    found, subject.service = reach(subject.question)
    return found


def asked_about(about: str) -> Check:
    """A question of `plan --online`."""

    def ask(subject: Subject) -> Answer:
        from runner.targets import azureml_online

        assert subject.service is not None  # the workspace went well
        return azureml_online.answered(about, subject.service, subject.question)

    return Check(about, ask, ("workspace",))


NAMES: Mapping[str, Callable[[Subject], Answer]] = {"azureml": azure_names, "emulator": emulator_names}
LOGINS: Mapping[str, Callable[[Subject], Answer]] = {"azureml": azure_login, "emulator": emulator_login}
HERE = (
    Check("python", python),
    Check("packages", packages),
    Check("project", project),
    Check("git", git, ("project",)),
    Check("configuration", configuration, ("project", "packages")),
    Check("torch", torch),
    Check("mpi", mpi, ("packages",)),
    Check("azureml-core", azureml_core),
)
THERE = (
    Check("names", names, ("configuration",)),
    Check("login", login, ("configuration", "azureml-core", "names")),
    Check("workspace", workspace, ("login", "names")),
    asked_about("cluster"),
    asked_about("quota"),
    asked_about("environment"),
)
