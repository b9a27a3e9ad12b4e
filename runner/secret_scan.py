"""Contents that look like a key. Refused by file and line before anything is copied or sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runner.errors import Place

MAX_BYTES = 2 * 1024 * 1024  # larger files are data, not code
ALLOW = "amlrun: allow-secret"
ADVICE = (
    "keep it out (.gitignore, env.secrets); if it is no secret, name the file in code.allow_secrets "
    f"or end the line with '{ALLOW}'"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A line that looks like a key of `kind`."""

    place: Place
    kind: str
    advice: str = ADVICE


PATTERNS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("a SAS signature", re.compile(rb"[?&]sig=[A-Za-z0-9%+/]{30,}(?:%3[dD]|=)")),
    ("an Azure storage key", re.compile(rb"AccountKey=[A-Za-z0-9+/]{60,}={0,2}")),
    ("an Azure client secret", re.compile(rb"\b[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}\b")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a Google API key", re.compile(rb"\bAIza[A-Za-z0-9_-]{35}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b")),
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z0-9]{34,}\b")),
    ("a JSON web token", re.compile(rb"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}\b")),
)
# In every match of a pattern above is one of these. Looking for bytes takes a twentieth of looking for a pattern.
LITERALS = (
    *(b"PRIVATE KEY", b"sig=", b"AccountKey=", b"Q~", b"AKIA", b"ASIA", b"AIza", b"hf_", b"eyJ"),
    *(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
)


def find_in(content: bytes) -> Iterator[tuple[int, int, str]]:
    """Line, column (from 1) and kind of each thing that looks like a key."""
    there = [literal for literal in LITERALS if literal in content]
    if not there:
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if not any(literal in line for literal in there) or ALLOW.encode() in line:
            continue
        for kind, pattern in PATTERNS:
            found = pattern.search(line)
            if found:
                yield number, found.start() + 1, kind
