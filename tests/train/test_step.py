"""One step: parts of a batch add up to the whole, and what is asked of the arithmetic is what is done."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.train.conftest import CONFIG
from train.collectives import Alone
from train.errors import TrainError
from train.speed import choose_speed
from train.step import Stepper

CPU = torch.device("cpu")


def stepper(model, parts=1, clip_norm=None, **trainer):
    speed = choose_speed({**CONFIG["trainer"], **trainer}, CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Stepper(Alone(), speed, speed.place(model), optimizer, parts, clip_norm)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))


def batch(size=10):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, 2, 2, generator=generator), torch.arange(size) % 3


@pytest.mark.parametrize("parts", [2, 3, 10])  # 3 parts of 10 images are not equal
def test_parts_of_a_batch_learn_what_the_whole_would(parts):
    whole, divided = linear(), linear()
    loss = stepper(whole).step(*batch())
    assert stepper(divided, parts).step(*batch()).item() == pytest.approx(loss.item(), rel=1e-6)
    for one, other in zip(whole.parameters(), divided.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def moved(model):
    return torch.cat(
        [(new - old).flatten() for new, old in zip(model.parameters(), linear().parameters(), strict=True)]
    )


def test_gradients_are_clipped_to_the_norm_that_was_asked_for():
    free, clipped = linear(), linear()
    stepper(free).step(*batch())
    stepper(clipped, clip_norm=0.01).step(*batch())
    assert moved(free).norm() > 0.1 * 0.02
    assert moved(clipped).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    assert nn.functional.cosine_similarity(moved(free), moved(clipped), dim=0) > 0.999


class Seen(nn.Module):
    """Notes what arrives in the forward pass, and in which precision a product is computed."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        self.last = images.is_contiguous(memory_format=torch.channels_last)
        features = self.convolution(images)
        self.dtype = features.dtype
        return self.head(features.mean((2, 3)))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precision_is_of_the_computation_and_weights_stay_in_float32(precision, dtype):
    model = Seen()
    before = copy.deepcopy(model.state_dict())
    loss = stepper(model, precision=precision).step(*batch())
    assert model.dtype == dtype
    assert loss.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    assert not torch.equal(before["head.weight"], model.head.weight)


def test_channels_last_is_of_weights_and_images():
    model = Seen()
    made = stepper(model, channels_last=True)
    images, labels = batch()
    made.step(made.speed.form(images), labels)
    assert model.last
    assert model.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert made.speed.describe() == ", channels_last"


def test_what_is_unusual_is_said():
    speed = choose_speed({**CONFIG["trainer"], "precision": "bf16", "compile": True}, CPU)
    assert speed.describe() == ", compiled, bf16"
    assert choose_speed(CONFIG["trainer"], CPU).describe() == ""
    with pytest.raises(TrainError, match=r"trainer.precision: 'bf61' is unknown; use one of float32, bf16, fp16"):
        choose_speed({**CONFIG["trainer"], "precision": "bf61"}, CPU)


def test_a_gpu_without_bf16_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(TrainError, match="this GPU cannot compute in 'bf16'"):
        choose_speed({**CONFIG["trainer"], "precision": "bf16"}, torch.device("cuda", 0))
