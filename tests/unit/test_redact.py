"""Secrets do not pass; everything else does, unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.redact import MARK, looks_secret, redact
from tests.unit.test_secret_scan import KEYS


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_goes(kind: str) -> None:
    secret = KEYS[kind]
    shown = redact(f"cannot read '{secret}' today")
    assert MARK in shown
    assert secret not in shown
    assert shown.startswith("cannot read '")
    assert shown.endswith("' today") or kind == "a private key"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter22@host/x.git", f"https://me:{MARK}@host/x.git"),
        ("https://x.blob/c?sv=1&sig=abc%3D&se=2", f"https://x.blob/c?sv=1&sig={MARK}&se=2"),
        ("GET /?access_token=abc.def done", f"GET /?access_token={MARK} done"),
        ("Authorization: Bearer abcdefghijklmnop", f"Authorization: Bearer {MARK}"),
        ("AccountName=a;AccountKey=xyz123==;End=b", f"AccountName=a;AccountKey={MARK};End=b"),
    ],
)
def test_the_frame_stays(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert looks_secret(text)
    assert redact(shown) == shown or MARK in redact(shown)


def test_known_values_go_wherever_they_are() -> None:
    assert redact("token is s3cret-value!", ["s3cret-value", "1"]) == f"token is {MARK}!"


@pytest.mark.parametrize(
    "text",
    [
        "optimizer.lr=0.1 seed=1",
        "epoch 3/20  train loss 0.123",
        "http://127.0.0.1:8080/path?x=1",
        "a@b.c:5 and https://host:443/x",
        "key=value sig = 3",
        "0d6f5a1b" * 8,
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text
    assert not looks_secret(text)


@given(st.text())
def test_a_known_value_never_passes_whatever_is_around_it(text: str) -> None:
    value = "s3cret-Value"
    assert value not in redact(text + value + text, [value])
