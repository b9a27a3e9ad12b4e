"""Checks of bodies: what Azure would refuse, or never look at, is refused with a sentence that says what was wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

from runner.emulator.messages import bad_request

# As many as a 64 bit number has; Python itself refuses to read thousands of them.
MAX_DIGITS = 18
SHOWN_CHARACTERS = 100


def only_known(body: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """The body, its keys spelled as in `known` (the SDK mixes cases). Raises ServiceError (400) for any other key."""
    if not isinstance(body, Mapping):
        raise bad_request(f"{where} is not an object", "InvalidRequestBody")
    spelled = {name.lower(): name for name in known}
    for key in body:
        if key.lower() not in spelled:
            close = difflib.get_close_matches(key, list(known), n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise bad_request(f"{where} has an unknown field '{key}'{hint}", "InvalidRequestBody")
    return {spelled[key.lower()]: value for key, value in body.items()}


def whole_number(value: Any, what: str, least: int = 1) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise bad_request(f"{what} is '{value}'; it must be a whole number of at least {least}")


def count(value: Any, what: str, most: int) -> int:
    """How many rows are wanted, as a number or (in a query) as its digits; `most` where nothing is said."""
    if value is None or value == "":
        return most
    digits = str(value)
    if not re.fullmatch(f"0*[1-9][0-9]{{0,{MAX_DIGITS - 1}}}", digits):
        raise bad_request(f"{what} is '{shortened(digits)}'; it must be a whole number of at least 1")
    return min(int(digits), most)


def needed(value: Any, what: str) -> str:
    """A text that must be there."""
    if isinstance(value, str) and value:
        return value
    raise bad_request(f"{what} is '{value}'; it must be a text", "InvalidRequestBody")


def text(value: Any, what: str) -> str | None:
    """A text that may be missing."""
    if value is None or isinstance(value, str):
        return value
    raise bad_request(f"{what} is '{shortened(value)}'; it must be a text", "InvalidRequestBody")


def flag(value: Any, what: str) -> bool | None:
    """true or false, or nothing said."""
    if value is None or isinstance(value, bool):
        return value
    raise bad_request(f"{what} is '{shortened(value)}'; it must be true or false", "InvalidRequestBody")


def shortened(value: Any) -> str:
    """A value as an error shows it."""
    shown = str(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}..."


def rows(value: Any, what: str) -> list[Any]:
    """A list. null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request(f"{what} is no list", "InvalidRequestBody")
    return value


def section(value: Any, what: str) -> dict[str, Any]:
    """An object within the body. null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"{what} is no object", "InvalidRequestBody")
    return value


def text_pairs(value: Any, what: str) -> dict[str, str]:
    """Tags, properties, variables: names and texts. null is none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise bad_request(f"{what} is no object of names and texts", "InvalidRequestBody")
    return {str(key): "" if item is None else str(item) for key, item in value.items()}
