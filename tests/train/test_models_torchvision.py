"""Every classification model of torchvision, with the head for our classes and with weights by name and from a file."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from train import models, vision
from train.data import synthetic
from train.models import build_model
from train.models.heads import find_head, outputs_of

# Sides of images, where 64 is not enough or not what the weights are for.
SIZES = {"inception_v3": 75, "maxvit_t": 224, "vit_h_14": 518}
BY_NAME = dict.fromkeys(("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"), 224)
# One for each way of building a head or of naming parameters, the smallest of its family.
FAMILIES = (
    *("resnet18", "densenet121", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "inception_v3", "mnasnet0_5"),
    *("regnet_x_400mf", "swin_t", "convnext_tiny", "vit_b_32"),
)


def images(size):
    return synthetic.load(classes=5, channels=3, size=size, train_images=5, test_images=5)


def head_of(model):
    name = find_head(model)
    return name, outputs_of(model.get_submodule(name))


@pytest.fixture
def without_numbers(monkeypatch):
    """Weights by name without a download, and models without memory (on torch's 'meta' device)."""
    module = vision.torchvision()
    regnet = module.models.regnet.BlockParams
    original = regnet.from_init_params

    def widths(*args, **kwargs):
        with torch.device("cpu"):
            return original(*args, **kwargs)

    monkeypatch.setattr(regnet, "from_init_params", widths)
    monkeypatch.setattr(module.models._api.WeightsEnum, "get_state_dict", lambda *args, **kwargs: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *args, **kwargs: None)
    monkeypatch.setattr(models, "fetch", lambda entry: None)
    return module.models


@pytest.mark.slow
def test_with_weights_by_name_every_model_gets_a_head_for_our_classes(without_numbers, tmp_path):
    data = {size: images(size) for size in {64, *SIZES.values(), *BY_NAME.values()}}
    names = without_numbers.list_models(module=without_numbers)
    assert len(names) >= 80
    for name in names:
        spec = {"_target_": f"torchvision.models.{name}", "weights": "DEFAULT"}
        with torch.device("meta"):
            model = build_model(spec, data[{**SIZES, **BY_NAME}.get(name, 64)], tmp_path)
        assert head_of(model)[1] == 5, name


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_a_model_for_other_classes_gives_all_but_the_head(name, tmp_path):
    size = SIZES.get(name, 64)
    given = {"image_size": size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        given = {"init_weights": True, "aux_logits": True}
    donor = vision.torchvision().models.get_model(name, num_classes=7, **given)
    # As torchvision's own file for densenet, and as one saved from DistributedDataParallel.
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))(?=[12]\.)", r"\1.", k): v for k, v in donor.state_dict().items()}
    torch.save({f"module.{key}": value for key, value in dotted.items()}, tmp_path / "donor.pth")
    spec = {"_target_": f"torchvision.models.{name}", "weights": "donor.pth"}
    model = build_model(spec, images(size), tmp_path)
    (tmp_path / "donor.pth").unlink()
    head, outputs = head_of(model)
    assert outputs == 5
    before, after = donor.state_dict(), model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith(f"{head}."))
    assert {key for key in before if key not in after} <= {key for key in before if key.startswith(("aux", "Aux"))}
    assert not any(int(value) for key, value in after.items() if key.endswith("num_batches_tracked"))
