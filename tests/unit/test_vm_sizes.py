from __future__ import annotations

import pytest

from runner.images import CPU_IMAGE, CUDA_IMAGE, base_image, pinned, retired_curated, unsupported
from runner.vm_sizes import find_size, gpus_of, vm_sizes


def test_case_does_not_matter() -> None:
    assert find_size("STANDARD_nc4AS_T4_V3") == find_size("Standard_NC4as_T4_v3")
    assert find_size(None) is None
    assert find_size("Standard_Nothing") is None


@pytest.mark.parametrize(
    ("name", "gpus", "processes"),
    [
        ("Standard_DS3_v2", 0, 1),
        ("Standard_NC4as_T4_v3", 1, 1),
        ("Standard_NC64as_T4_v3", 4, 4),
        ("Standard_NV6ads_A10_v5", 1, 1),
        ("Standard_ND96isr_H100_v5", 8, 8),
    ],
)
def test_gpus_and_processes(name: str, gpus: int, processes: int) -> None:
    size = find_size(name)
    assert size is not None
    assert (gpus_of(name), size.processes) == (gpus, processes)


def test_gpus_of_an_unknown_size_are_unknown() -> None:
    assert gpus_of("Standard_Nothing") is None
    assert gpus_of(None) is None


def test_facts_have_sources_and_prices_have_dates() -> None:
    for size in vm_sizes().values():
        assert size.source, size.name
        assert size.status in ("current", "retired", "check"), size.name
        assert bool(size.retired_on) == size.retired, size.name
        assert (size.usd_per_hour is None) == (not size.price_date) == (not size.price_source), size.name
        assert size.vcpus > 0, size.name


def test_the_price_is_per_node_and_hour() -> None:
    size = find_size("Standard_NC24ads_A100_v4")
    assert size is not None
    assert (size.usd_per_hour, size.price_region, size.price_date) == (3.673, "eastus", "2026-11-09")


def test_base_images_are_pinned_and_supported() -> None:
    for image in (CPU_IMAGE, CUDA_IMAGE):
        assert pinned(image)
        assert not unsupported(image)
    assert (base_image(gpus=0), base_image(gpus=0.5)) == (CPU_IMAGE, CUDA_IMAGE)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("python", False),
        ("python:latest", False),
        ("host:5000/a/b", False),
        ("host:5000/a/b:1", True),
        ("a/b@sha256:00", True),
    ],
)
def test_pinned(image: str, expected: bool) -> None:
    assert pinned(image) is expected


def test_curated_environments_that_are_gone() -> None:
    assert retired_curated("AzureML-PyTorch-1.6-GPU")
    assert not retired_curated("AzureML-acpt-pytorch-2.8-cuda12.6")
    assert unsupported("mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04:1")
    assert not unsupported("mine.azurecr.io/openmpi3.1.2")
