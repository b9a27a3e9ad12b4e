"""Azure's VM sizes: GPUs, memory, whether they are retired, and dated prices where one is known.

The facts are in vm_sizes.csv, each row with its source; sizes that it lacks may exist.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("vm_sizes.csv")


@dataclass(frozen=True, slots=True)
class VmSize:
    """One size. `gpus` below 1 is a share of a GPU. Prices are on demand, US dollars per hour, None where unknown."""

    name: str
    family: str
    gpu_model: str
    gpus: float
    gpu_memory_gb: float
    vcpus: int
    memory_gb: float
    rdma: bool
    status: str
    retired_on: str
    usd_per_hour: float | None
    price_region: str
    price_date: str
    price_source: str
    source: str

    @property
    def retired(self) -> bool:
        return self.status == "retired"

    @property
    def processes(self) -> int:
        """Training processes that a node takes: one per GPU; one where it has none, or a share of one."""
        return max(1, int(self.gpus))


@cache
def vm_sizes() -> dict[str, VmSize]:
    """Every known size by its lower-case name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["name"].lower(): from_row(row) for row in csv.DictReader(file)}


def find_size(name: str | None) -> VmSize | None:
    """The size of that name (case does not matter, as on Azure), None where it is not known."""
    return vm_sizes().get(name.lower()) if name else None


def gpus_of(name: str | None) -> int | None:
    """GPUs that training processes of a node can have each for itself, None where the size is not known.

    A share of a GPU counts as one: one process uses it as its GPU, two cannot.
    """
    size = find_size(name)
    return None if size is None else math.ceil(size.gpus) if size.gpus < 1 else int(size.gpus)


def from_row(row: dict[str, str]) -> VmSize:
    price = row["usd_per_hour_ondemand"]
    return VmSize(
        name=row["name"],
        family=row["family"],
        gpu_model=row["gpu_model"],
        gpus=float(row["gpus"]),
        gpu_memory_gb=float(row["gpu_mem_gb_total"]),
        vcpus=int(row["vcpus"]),
        memory_gb=float(row["ram_gib"]),
        rdma=row["rdma"] == "true",
        status=row["status"],
        retired_on=row["retired_on"],
        usd_per_hour=float(price) if price else None,
        price_region=row["price_region"],
        price_date=row["price_date"],
        price_source=row["price_source"],
        source=row["source"],
    )
