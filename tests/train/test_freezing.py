from __future__ import annotations

import pytest
import torch
from torch import nn

from train.errors import TrainError
from train.models.efficientnet_lite import EfficientNetLite0
from train.models.freezing import blocks_below_head, hold_statistics, set_trainable
from train.models.small_cnn import SmallCNN


class Sandwich(nn.Module):
    """A parameter of its own, a normalisation after each layer, the head inside a container, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 3))
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.trunk = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), nn.Linear(4, 4))
        self.norm = nn.LayerNorm(4)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.norm(self.trunk(self.stem(images + self.token))))
        return logits


HEAD = {"classifier.3.weight", "classifier.3.bias"}


def learning(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_blocks_hold_every_parameter_but_the_heads_once_from_the_input_on():
    blocks = blocks_below_head(Sandwich())
    assert [block[0] for block in blocks] == ["token", "trunk.0.0.weight", "trunk.1.weight", "classifier.1.weight"]
    assert "norm.weight" in blocks[2]  # not a block of its own
    names = [name for block in blocks for name in block]
    assert sorted(names) == sorted({name for name, _ in Sandwich().named_parameters()} - HEAD)


@pytest.mark.parametrize(("model", "count"), [(SmallCNN(3), 3), (EfficientNetLite0(3), 18), (nn.Linear(2, 2), 0)])
def test_how_many_blocks_there_are(model, count):
    assert len(blocks_below_head(model)) == count


def test_gradual_unfreezing_goes_from_the_head_to_the_input():
    model, spec = Sandwich(), {"kind": "gradual", "epochs": 2}
    changes = [set_trainable(model, spec, epoch) for epoch in (0, 1)]
    assert (changes, learning(model)) == ([True, False], HEAD)
    assert set_trainable(model, spec, 2)
    assert learning(model) == HEAD | {"classifier.1.weight", "classifier.1.bias"}
    set_trainable(model, spec, 7)
    assert "trunk.0.0.weight" in learning(model)
    assert "token" not in learning(model)
    set_trainable(model, spec, 8)
    assert len(learning(model)) == len(list(model.parameters()))
    assert not set_trainable(model, spec, 100)


def test_a_stage_depends_on_the_epoch_alone_so_that_resuming_finds_it():
    went_through, resumed = Sandwich(), Sandwich()
    for epoch in range(5):
        set_trainable(went_through, {"kind": "gradual", "epochs": 1}, epoch)
    set_trainable(resumed, {"kind": "gradual", "epochs": 1}, 4)
    assert learning(went_through) == learning(resumed)


def test_with_a_frozen_backbone_only_the_head_learns_and_nothing_else_changes():
    torch.manual_seed(0)
    model = Sandwich()
    set_trainable(model, {"kind": "backbone", "epochs": 1}, 99)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    hold_statistics(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    model(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == HEAD


def test_frozen_dropout_is_off_and_learning_one_on():
    model = Sandwich()
    set_trainable(model, {"kind": "backbone", "epochs": 1}, 0)
    model.train()
    hold_statistics(model)
    assert not model.trunk[0][1].training
    assert model.classifier[0].training
    set_trainable(model, {"kind": "none", "epochs": 1}, 0)
    model.train()
    hold_statistics(model)
    assert all(module.training for module in model.modules())


def test_a_model_without_a_head_is_told_of():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(
        TrainError, match=r"trainer.freeze: 'Sequential' ends in no linear layer.* trainer.freeze.kind=none"
    ):
        set_trainable(model, {"kind": "gradual", "epochs": 1}, 0)
    assert not set_trainable(model, {"kind": "none", "epochs": 1}, 0)
