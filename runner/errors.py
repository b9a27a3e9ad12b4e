"""What can go wrong, where it is, and the exit code that says so.

Only `runner.cli.main` catches `RunnerError`; any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was set: a position in a file (line and column count from 1), or an override."""

    source: str
    line: int | None = None
    column: int | None = None

    @classmethod
    def of_override(cls, text: str) -> Place:
        return cls(f"override '{text}'")

    @property
    def kind(self) -> Literal["file", "override"]:
        return "override" if self.source.startswith("override ") else "file"

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `<place>: <what>; <what to do>`.

    `path` is the dotted configuration key ('' for the whole), `message` says what, `hint` what to do ('' if obvious).
    """

    place: Place
    path: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        what = f"{self.path}: {self.message}" if self.path else self.message
        text = f"{self.place}: {what}" + (f"; {self.hint}" if self.hint else "")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)  # one line, whatever a value holds

    def as_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "place": str(self.place),
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


class RunnerError(Exception):
    """Something the user can act on: printed without a traceback, then `exit_code`."""

    exit_code = 1


class ConfigError(RunnerError):
    """The configuration is wrong: every problem of every configuration, errors and warnings."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SnapshotError(RunnerError):
    """The code cannot travel: too big, too many files, or it holds something that looks like a key."""

    exit_code = 3


class TargetError(RunnerError):
    """The target refused, could not be reached, or does not know what was asked for."""

    exit_code = 4


class RunFailedError(RunnerError):
    """The run ended, and not well."""

    exit_code = 5


class StoppedError(RunnerError):
    """Ctrl-C."""

    exit_code = 130


def without_errors(problems: Iterable[Problem]) -> list[Problem]:
    """The warnings, each once. Raises ConfigError with everything if there is an error."""
    each = list(dict.fromkeys(problems))
    if any(problem.severity == "error" for problem in each):
        raise ConfigError(each)
    return each
