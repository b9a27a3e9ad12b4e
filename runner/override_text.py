"""Values as text that Hydra's override grammar reads as these values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any


def literal(value: Any, quoted: Callable[[str], str]) -> str:
    """A value in Hydra's override grammar; `quoted` puts quotes around a text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item, quoted)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(literal(item, quoted) for item in value) + "]"
    # One backslash keeps "${" from being an interpolation; those before it count twice.
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return quoted(text)
