"""What stops a plan from being sent, though it can be made and shown: a row of GATES for each reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from runner.errors import Problem
from runner.spec import GitState, Job, Plan

LISTED_FILES = 10


def blockers(jobs: Sequence[Job], plans: Sequence[Plan]) -> list[Problem]:
    """Every reason not to send these plans; `jobs` are what they were made from, in the same order."""
    return list(dict.fromkeys(problem for gate in GATES for problem in gate(jobs, plans)))


def dirty_tree(jobs: Sequence[Job], plans: Sequence[Plan]) -> Iterator[Problem]:
    """`git.require_clean: true` and uncommitted changes, or no commit at all."""
    for job, plan in zip(jobs, plans, strict=True):
        if job.require_clean and (plan.git.commit is None or plan.git.dirty):
            origin = job.config.origin("git", "require_clean")
            yield Problem(origin.value, "git.require_clean", in_words(plan.git), "commit them, or set it to false")


def in_words(git: GitState) -> str:
    if git.commit is None:
        return "the project is in no git repository, or has no commit"
    more = f" and {len(git.dirty) - LISTED_FILES} more" if len(git.dirty) > LISTED_FILES else ""
    return f"{len(git.dirty)} uncommitted changes: {', '.join(git.dirty[:LISTED_FILES])}{more}"


Gate = Callable[[Sequence[Job], Sequence[Plan]], Iterator[Problem]]
GATES: tuple[Gate, ...] = (dirty_tree,)
