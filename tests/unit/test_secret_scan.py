"""Each kind of key is found with its line and column; look-alikes of everyday code are not."""

from __future__ import annotations

import pytest

from runner.secret_scan import find_in

# Built from pieces: these tests must not look like keys themselves.
KEYS = {
    "a private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "a SAS signature": "https://x.blob.core.windows.net/c?sv=2022&sig=" + "Ab3%2F" * 8 + "%3D",
    "an Azure storage key": "AccountKey=" + "a1B2" * 21 + "==",
    "an Azure client secret": "abc8Q~" + "aB3_x" * 6 + "wxyz",
    "an AWS access key": "AKIA" + "ABCDEFGH23456723",
    "a Google API key": "AIza" + "Sy0123456" * 3 + "abcdefgh",
    "a GitHub token": "ghp_" + "a1B2c3D4" * 5,
    "a Hugging Face token": "hf_" + "AbCdEfGhIj" * 4,
    "a JSON web token": "eyJ"
    + "hbGciOiJIUzI1NiJ9"
    + ".eyJ"
    + "zdWIiOiIxMjM0NTY3ODkwIn0"
    + "."
    + "dBjftJeZ4CVPmB92K27u" * 2,
}


@pytest.mark.parametrize("kind", KEYS)
def test_finds(kind: str) -> None:
    text = f"first line\nx = {KEYS[kind]}\n"
    assert kind in [found for line, _, found in find_in(text.encode()) if line == 2]


@pytest.mark.parametrize("prefix", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "AKIA", "ASIA"])
def test_finds_every_form_of_a_kind(prefix: str) -> None:
    rest = {"AKIA": "ABCDEFGH23456723", "ASIA": "ABCDEFGH23456723"}.get(prefix, "a1B2c3D4" * 8)
    assert list(find_in(f"x\r\ny = {prefix}{rest}\n".encode())) != []


@pytest.mark.parametrize(
    "text",
    [
        "AccountKey = os.environ['STORAGE_KEY']",
        "sig=abc",
        "digest = '0d6f5a" + "b1" * 30 + "'",
        "-----BEGIN CERTIFICATE-----",
        "hf_hub_download(repo_id)",
        "eyJ is how a token starts",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert list(find_in(text.encode())) == []


def test_a_marked_line_is_allowed() -> None:
    assert list(find_in(f"{KEYS['an AWS access key']}  # amlrun: allow-secret".encode())) == []
