"""Text without secrets: what is printed or kept (messages, evidence, diffs) passes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runner.secret_scan import PATTERNS

SHORTEST_SECRET = 6  # shorter values ("1", "true") would blacken ordinary text
MARK = "[redacted]"
# Secrets inside a text whose frame stays: the part named `secret` goes.
FRAMED = (
    re.compile(r"(?P<before>://[^\s/:@'\"]*:)(?P<secret>[^\s/@'\"]+)(?P<after>@)"),
    re.compile(
        r"(?P<before>[?&;](?:sig|token|access_token|api_key|apikey|password|client_secret)=)(?P<secret>[^\s&'\"<>]+)",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<before>\b(?:Bearer|Basic)\s+)(?P<secret>[A-Za-z0-9._~+/=-]{12,})"),
    re.compile(r"(?P<before>\b(?:AccountKey|SharedAccessSignature|SharedAccessKey)=)(?P<secret>[^\s;'\"]+)"),
)
WHOLE = tuple(re.compile(pattern.pattern.decode()) for kind, pattern in PATTERNS if kind != "a SAS signature")


def redact(text: str, values: Iterable[str] = ()) -> str:
    """`text` with keys, tokens and passwords in URLs, and every one of `values` (of known secrets), marked over."""
    for value in values:
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, MARK)
    for pattern in FRAMED:
        text = pattern.sub(lambda found: found.group(0).replace(found.group("secret"), MARK, 1), text)
    for pattern in WHOLE:
        text = pattern.sub(MARK, text)
    return text


def looks_secret(text: str) -> bool:
    """Whether `redact` would change the text."""
    return redact(text) != text
