"""Where the points of a sweep come from that draws them from results: a study, and the plan of what it suggests.

Later points are made from the configuration as it was when the sweep began, and run on the code of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner import history
from runner.configs import compose
from runner.cost import priced
from runner.errors import ConfigError, Problem
from runner.facts import draw, now
from runner.pipeline import Request
from runner.plan import Facts, plan, snapshot_key
from runner.processes import machine
from runner.sampling import Space, having
from runner.snapshot import Snapshot
from runner.spec import Plan
from runner.studies import Study, Suggestion, open_study
from runner.sweep import space_of
from runner.sweeps import TAG, Sweep, asked_of
from runner.targets import addressed
from runner.validate import make_code, validate


@dataclass
class Growth:
    """Where new points come from. `base` is the first plan: later ones run on its code."""

    project: Path
    sweep_id: str
    base: Plan
    overrides: tuple[str, ...]
    study: Study

    @classmethod
    def of(cls, project: Path, sweep: Sweep, base: Plan) -> Growth:
        folder = history.sweep_dir(project, sweep.id)
        space = space_of(compose(folder, [sweep.overrides])[0])
        study = open_study(folder / "study.optuna", asked_of(base), space, base.overrides[: len(space)])
        for old, new in sweep.replaced.items():
            study.repeat(old, new)
        if base.id not in study.runs() and (trial := next(iter(study.unfinished()), None) or study.ask()):
            study.is_run(trial.number, base.id)
        return cls(project, sweep.id, base, sweep.overrides, study)

    def suggestion(self, known: Sequence[str]) -> Suggestion | None:
        """One that was asked for and never became one of the `known` runs, else a new one."""
        runs = {number for run_id, number in self.study.runs().items() if run_id in known}
        return next((each for each in self.study.unfinished() if each.number not in runs), None) or self.study.ask()

    def plan(self, suggestion: Suggestion) -> Plan:
        """Raises ConfigError where the point is not valid."""
        (config,) = compose(history.sweep_dir(self.project, self.sweep_id), [[*suggestion.point, *self.overrides]])
        jobs, _ = validate([replace(config, project=self.project)])
        key = snapshot_key(jobs[0].code)
        if key != snapshot_key(make_code(self.base.config["code"], self.project)):
            raise ConfigError(
                [Problem(config.origin("code").value, "code", "the points of this sweep share their code")]
            )
        code = Snapshot(key[0], (), {}, (), digest=self.base.snapshot.digest)
        facts = Facts(machine(), self.base.python, now(), draw, self.base.git, {key: code})
        (made,) = priced(plan(jobs, facts), self.project)
        made = replace(made, snapshot=self.base.snapshot, tags={**made.tags, TAG: self.sweep_id})
        return addressed(made, self.project)


def refuse_never_valid(request: Request, space: Space, others: Sequence[Sequence[str]]) -> None:
    """Raises ConfigError for an option, or the end of an interval, that is valid with none of the `others`."""
    tries = [having(space, other) for other in others]
    wrong: dict[int, ConfigError] = dict.fromkeys(range(len(tries[0])), ConfigError([]))
    for points in tries:
        configs = compose(request.project, [[*points[index], *request.overrides] for index in wrong])
        found: dict[int, ConfigError] = {}
        for index, config in zip(wrong, configs, strict=True):
            try:
                validate([config])
            except ConfigError as error:
                found[index] = error
        wrong = found
    if wrong:
        raise ConfigError([problem for error in wrong.values() for problem in error.problems])
