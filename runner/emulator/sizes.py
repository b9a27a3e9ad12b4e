"""VM sizes, from the table of sourced facts that lies beside the package (data, no code shared with the client)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "vm_sizes.csv"


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    family: str
    gpus: float
    vcpus: int
    memory_gib: float
    retired_on: str


@cache
def sizes() -> dict[str, Size]:
    """By name in lower case: Azure's documents spell the prefix both STANDARD_ and Standard_."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["name"].lower(): read(row) for row in csv.DictReader(file)}


def read(row: dict[str, str]) -> Size:
    retired = (row["retired_on"] or "some time ago") if row["status"] == "retired" else ""
    return Size(row["name"], row["family"], float(row["gpus"]), int(row["vcpus"]), float(row["ram_gib"] or 0), retired)
