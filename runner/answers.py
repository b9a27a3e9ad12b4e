"""What a check came to: of this machine, of a project, of a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from runner.errors import TargetError
from runner.redact import redact


class Standing(str, Enum):
    """How it stands. A refusal to answer is an error: it never reads as 'there is none'."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    ERROR = "error"
    NOT_ASKED = "not asked"

    @property
    def stops(self) -> bool:
        """Whether a run would come to nothing."""
        return self in (Standing.MISSING, Standing.ERROR)


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that was asked: what about, how it stands, in words, and what to do.

    `facts` are the same for programs, in the form of online.schema.json.
    """

    about: str
    standing: Standing
    text: str
    hint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text + (f"; {self.hint}" if self.hint else "")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "standing": self.standing.value, "facts": dict(self.facts)}


def refused(about: str, error: TargetError, standing: Standing = Standing.ERROR) -> Answer:
    """An error as an answer: its text is `<what>; <what to do>`. A service may repeat a secret of ours in it."""
    what, _, hint = redact(str(error)).partition("; ")
    return Answer(about, standing, what, hint)


def not_asked(about: str, why: str) -> Answer:
    return Answer(about, Standing.NOT_ASKED, why)
