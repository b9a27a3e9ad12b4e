"""Points that follow from results: an Optuna study, kept in a file, that is asked for points and told what they gave.

The only module of `runner` that imports optuna, on use. Trial 0 is a point that was drawn beforehand.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import TargetError
from runner.sampling import Interval, Options, Space, overrides, value_text

# Which runs trials are: of all in the study, of one that repeats another in the trial itself.
RUNS, RUN = "runs", "run"
# Another process may read the study (optuna-dashboard); the writer waits for it.
PATIENCE_SECONDS = 60
MOST_AT_RANDOM = 10


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The number of a trial, and its point as overrides."""

    number: int
    point: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """An Optuna study over `space`, of `total` trials. Which run a trial is stands in the study, too."""

    study: Any
    space: Space
    total: int

    def unfinished(self) -> list[Suggestion]:
        """Trials that were asked for and of which nothing was told."""
        return [self.suggestion(trial) for trial in self.study.trials if trial.state.name == "RUNNING"]

    def ask(self) -> Suggestion | None:
        """A new trial; None when all were asked for. One that repeats another is none more."""
        asked = [trial for trial in self.study.trials if trial.state.name != "WAITING" and RUN not in trial.user_attrs]
        if len(asked) >= self.total:
            return None
        return self.suggestion(self.study.ask({key: distribution(each) for key, each in self.space.items()}))

    def runs(self) -> dict[str, int]:
        """Trial numbers by run."""
        repeated = {trial.user_attrs[RUN]: trial.number for trial in self.study.trials if RUN in trial.user_attrs}
        return {run_id: int(number) for number, run_id in self.study.user_attrs.get(RUNS, {}).items()} | repeated

    def is_run(self, number: int, run_id: str) -> None:
        self.study.set_user_attr(RUNS, {**self.study.user_attrs.get(RUNS, {}), str(number): run_id})

    def repeat(self, old: str, new: str) -> None:
        """The run `new` is what `old` was: its trial, or (nothing is told twice of one) another with its point."""
        import optuna

        runs = self.runs()
        if new in runs or old not in runs:
            return
        trial = self.study.trials[runs[old]]
        if not trial.state.is_finished():
            self.is_run(trial.number, new)
            return
        same = {"params": trial.params, "distributions": trial.distributions, "user_attrs": {RUN: new}}
        self.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, **same))

    def fail(self, number: int) -> None:
        import optuna

        self.study.tell(number, state=optuna.trial.TrialState.FAIL)

    def tell(self, run_id: str, value: float | None, stopped_at: int | None = None) -> None:
        """What a run gave, None where it failed; `stopped_at`: the number of reports after which it was stopped."""
        import optuna

        number = self.runs().get(run_id)
        if number is None or self.study.trials[number].state.is_finished():
            return  # it stands in for another run, or was told before this process began
        if value is None:
            self.fail(number)
        elif stopped_at is None:
            self.study.tell(number, value)
        else:
            # Optuna takes the value of a pruned trial from its last report.
            optuna.trial.Trial(self.study, self.study.trials[number]._trial_id).report(value, stopped_at)
            self.study.tell(number, state=optuna.trial.TrialState.PRUNED)

    def suggestion(self, trial: Any) -> Suggestion:
        texts = [text_of(each, trial.params[key]) for key, each in self.space.items()]
        return Suggestion(trial.number, tuple(overrides(self.space, texts)))


def open_study(path: Path, asked: Mapping[str, Any], space: Space, first: Sequence[str]) -> Study:
    """The study in the file `path`, made if it is not there.

    `asked` is the `sweep` group, `first` the point of trial 0. Raises TargetError where Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise TargetError("sampler 'bayesian' needs Optuna; 'pip install amlrun[sweep]' brings it") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    total = int(asked["max_total"])
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": PATIENCE_SECONDS}}
    )
    study = optuna.create_study(storage=storage, study_name=path.stem, direction=asked["goal"], load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is called experimental before Optuna 5
        study.sampler = optuna.samplers.TPESampler(
            # With one seed a study that goes on would draw its beginning again.
            seed=int(asked.get("seed", 0)) + len(study.trials),
            n_startup_trials=min(MOST_AT_RANDOM, max(2, total // 4)),
            constant_liar=True,
        )
    if not study.trials:
        study.enqueue_trial(dict(parameters(space, first)))
    return Study(study, space, total)


def distribution(one: Interval | Options) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(one, Interval):
        if one.whole:
            return IntDistribution(int(one.low), int(one.high), log=one.log)
        return FloatDistribution(one.low, one.high, log=one.log)
    return IntDistribution(0, len(one.texts) - 1) if one.ordered else CategoricalDistribution(one.texts)


def text_of(one: Interval | Options, value: Any) -> str:
    if isinstance(one, Interval):
        return value_text(one, value)
    return one.texts[value] if one.ordered else str(value)


def parameters(space: Space, point: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """A point as Optuna has it: the reverse of `text_of`."""
    for (key, one), override in zip(space.items(), point, strict=True):
        text = override.removeprefix(f"{key}=")
        if isinstance(one, Interval):
            yield key, int(text) if one.whole else float(text)
        else:
            yield key, one.texts.index(text) if one.ordered else text
