"""Azure's base images and curated environments: which are current, which were retired, which `auto` stands for."""

from __future__ import annotations

REGISTRY = "mcr.microsoft.com/azureml/"

# What `env.image: auto` becomes. The tags are pinned: the same plan is the same image. CPU: the default of
# azureml-core 1.61 (DEFAULT_CPU_IMAGE). CUDA: the tag that Azure/azureml-assets resolved on 2026-07-06.
CPU_IMAGE = REGISTRY + "openmpi4.1.0-ubuntu22.04:20251130.v1"
CUDA_IMAGE = REGISTRY + "openmpi5.0-cuda12.6-ubuntu24.04:20260621.v1"

# Supported base images: README of Azure/AzureML-Containers, 2026-03-16. Others can be pulled but get no patches.
SUPPORTED = (
    "openmpi4.1.0-ubuntu22.04",
    "openmpi5.0-ubuntu24.04",
    "openmpi5.0-cuda12.4-ubuntu22.04",
    "openmpi5.0-cuda12.5-ubuntu22.04",
    "openmpi5.0-cuda12.6-ubuntu24.04",
    "openmpi5.0-cuda12.8-ubuntu24.04",
    "openmpi5.0-cuda13.1-ubuntu24.04",
)

# Curated PyTorch environments that are gone: azure-docs#83761 and the notes of Azure/azureml-assets.
RETIRED_CURATED = (
    "azureml-pytorch-1.6-gpu",
    "azureml-acpt-pytorch-1.11",
    "azureml-acpt-pytorch-1.12",
    "azureml-acpt-pytorch-2.0",
    "azureml-acpt-pytorch-2.1",
)
CURRENT_CURATED = "AzureML-acpt-pytorch-2.8-cuda12.6"


def base_image(*, gpus: float) -> str:
    """The image that `auto` stands for on nodes with that many GPUs."""
    return CUDA_IMAGE if gpus else CPU_IMAGE


def unsupported(image: str) -> bool:
    """Whether it is one of Azure's base images, and not among those that still get patches."""
    name = image.removeprefix(REGISTRY).partition(":")[0].partition("@")[0]
    return image.startswith(REGISTRY + "openmpi") and name not in SUPPORTED


def pinned(image: str) -> bool:
    """Whether the name says which build is meant: a tag other than 'latest', or a digest."""
    if "@sha256:" in image:
        return True
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag not in ("", "latest")


def retired_curated(name: str) -> bool:
    return name.lower().startswith(RETIRED_CURATED)
