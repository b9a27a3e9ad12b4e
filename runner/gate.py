"""What stops a plan from being sent, though it can be made and shown: a row of GATES for each reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from runner.errors import Problem
from runner.plan import snapshot_key
from runner.snapshot import Snapshot
from runner.spec import GitState, Job, Plan

LISTED_FILES = 10
# MAX_ARG_STRLEN of the Linux kernel (include/uapi/linux/binfmts.h), less the byte that ends a word.
MAX_WORD_BYTES = 32 * 4096 - 1
Snapshots = Mapping[tuple[Path, str], Snapshot]


def blockers(jobs: Sequence[Job], plans: Sequence[Plan], snapshots: Snapshots) -> list[Problem]:
    """Every reason not to send these plans; `jobs` are what they were made from, in the same order."""
    each = zip(jobs, plans, strict=True)
    found = [problem for job, plan in each for gate in GATES for problem in gate(job, plan, snapshots)]
    return list(dict.fromkeys([*several_targets(jobs), *found]))


def several_targets(jobs: Sequence[Job]) -> Iterator[Problem]:
    """A submission is sent, followed and cancelled as one, so it goes to one place."""
    by_target = {job.target: job for job in jobs}
    if len(by_target) > 1:
        place = list(by_target.values())[-1].config.origin("compute", "kind").value
        yield Problem(place, "compute", f"these runs go to {' and '.join(by_target)}", "send them apart")


def dirty_tree(job: Job, plan: Plan, _snapshots: Snapshots) -> Iterator[Problem]:
    """`git.require_clean: true` and uncommitted changes, or no commit at all."""
    if job.require_clean and (plan.git.commit is None or plan.git.dirty):
        origin = job.config.origin("git", "require_clean")
        yield Problem(origin.value, "git.require_clean", in_words(plan.git), "commit them, or set it to false")


def script_stays(job: Job, _plan: Plan, snapshots: Snapshots) -> Iterator[Problem]:
    """A script that an ignore file keeps here would be missing on the node."""
    if job.code.kind != "script":
        return
    snapshot = snapshots[snapshot_key(job.code)]
    path = PurePosixPath(str(job.code.entry)).as_posix()
    if path not in {file.path for file in snapshot.files}:
        rules = [item for item in snapshot.left_out if path == item.path or path.startswith(item.path)]
        why = f": left out by '{rules[0].rule}' ({rules[0].source})" if rules else ""
        origin = job.config.origin("code", "script")
        yield Problem(
            origin.value, "code.script", f"'{path}' does not travel{why}", "bring it back with '!' there, or move it"
        )


def long_words(job: Job, plan: Plan, _snapshots: Snapshots) -> Iterator[Problem]:
    """Linux refuses to start a program with such a word, here and on a node. The overrides of a module are one word."""
    longest = max((len(word.encode("utf-8", "surrogateescape")) for word in words_of(plan)), default=0)
    if longest > MAX_WORD_BYTES:
        key = "" if job.code.kind == "module" else "code"
        what = f"one word of the command line has {longest:,} bytes, and Linux takes {MAX_WORD_BYTES:,}"
        yield Problem(job.config.origin("code").value, key, what, "put what is long into a file of the project")


def words_of(plan: Plan) -> tuple[str, ...]:
    variables = [f"{name}={value}" for name, value in plan.environment.items()]
    return (plan.shell, *plan.command, *plan.arguments, *variables)


def in_words(git: GitState) -> str:
    if git.commit is None:
        return "the project is in no git repository, or has no commit"
    more = f" and {len(git.dirty) - LISTED_FILES} more" if len(git.dirty) > LISTED_FILES else ""
    return f"{len(git.dirty)} uncommitted changes: {', '.join(git.dirty[:LISTED_FILES])}{more}"


GATES: tuple[Callable[[Job, Plan, Snapshots], Iterator[Problem]], ...] = (dirty_tree, script_stays, long_words)
