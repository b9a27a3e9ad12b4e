from __future__ import annotations

import csv
import sys

import PIL.Image
import pytest
import torch
from torch import nn
from torch.nn import functional

from train import reports
from train.data import InMemory
from train.data.batches import test_batches as batches_of
from train.evaluate import Evaluation, evaluate

CPU = torch.device("cpu")


class Summing:
    """A group of one that remembers what the ranks would have added up; `others` is what they bring."""

    def __init__(self, others=()):
        self.device, self.others = CPU, list(others)

    def share_buffers(self, model):
        pass

    def total(self, values):
        for other in self.others:
            values += other.pop(0)
        return values


def samples(classes, count, seed=0):
    """Images that are their own logits, and labels that are mostly the highest of them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, classes, 1, 1, generator=generator)
    labels = images.flatten(1).argmax(1)
    labels[::3] = torch.randint(0, classes, (len(labels[::3]),), generator=generator)
    return InMemory(images, labels)


def loader(data, rank=0, world_size=1, batch_size=7):
    return batches_of(data, rank, world_size, {"batch_size": batch_size, "workers": 0}, CPU)


def assessed(data, classes):
    model = nn.Flatten().train()
    found = evaluate(Summing(), model, model, loader(data), len(data), classes)
    assert not model.training
    return found


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_counts_are_those_of_a_plain_loop_over_all_images(classes):
    data = samples(classes, 53)
    logits, labels = data.images.flatten(1), data.labels.tolist()
    confusion = [[0] * classes for _ in range(classes)]
    for row, label in zip(logits.tolist(), labels, strict=True):
        confusion[label][row.index(max(row))] += 1
    among_five = sum(label in row.topk(min(5, classes)).indices for row, label in zip(logits, labels, strict=True))

    found = assessed(data, classes)

    assert found.confusion.tolist() == confusion
    assert (found.correct, found.count) == (sum(confusion[i][i] for i in range(classes)), 53)
    assert found.correct_top5 == (among_five if classes > 5 else None)
    assert found.loss == pytest.approx(functional.cross_entropy(logits.double(), data.labels).item(), rel=1e-6)
    assert found.accuracy == found.correct / 53
    found.confusion[0, 0] += 1  # an ordinary tensor, not one of inference mode


def test_ranks_and_batches_change_no_count_and_not_the_loss():
    data, alone = samples(8, 29), None
    for world_size, batch_size in ((1, 29), (1, 4), (2, 6), (3, 5)):
        parts = []
        for rank in range(world_size):
            group, sums = Summing(), []
            group.total = lambda values, sums=sums: sums.append(values.clone()) or values
            model = nn.Flatten()
            share = len(range(rank, 29, world_size))
            evaluate(group, model, model, loader(data, rank, world_size, batch_size), share, 8)
            parts.append(sums)
        first, *others = parts
        del first
        group, model = Summing(others), nn.Flatten()
        found = evaluate(group, model, model, loader(data, 0, world_size, batch_size), 29, 8)
        alone = alone or found
        assert found.confusion.equal(alone.confusion)
        assert (found.correct, found.correct_top5, found.count) == (alone.correct, alone.correct_top5, 29)
        assert found.loss == pytest.approx(alone.loss, rel=1e-14)


def test_a_missing_image_is_no_smaller_denominator():
    data = samples(3, 10)
    with pytest.raises(AssertionError, match="10 of 11 test images were evaluated"):
        evaluate(Summing(), nn.Flatten(), nn.Flatten(), loader(data), 11, 3)


CONFUSION = [[3, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
NAMES = ["a", 'ü, "quoted"', "$x$ and $y", "never there"]


@pytest.fixture
def evaluation():
    return Evaluation(loss=0.5, correct=5, correct_top5=None, count=10, confusion=torch.tensor(CONFUSION))


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_tables_say_what_each_class_was_taken_for(evaluation, tmp_path):
    reports.write(tmp_path / "new", evaluation, NAMES)
    assert table(tmp_path / "new/confusion.csv") == [
        ["true \\ answer", *NAMES],
        *([name, *map(str, row)] for name, row in zip(NAMES, CONFUSION, strict=True)),
    ]
    header, *rows = table(tmp_path / "new/classes.csv")
    assert header == ["class", "precision", "recall", "f1", "support"]
    assert rows[:4] == [
        ["a", "0.600000", "0.750000", "0.666667", "4"],
        [NAMES[1], "0.666667", "0.500000", "0.571429", "4"],
        [NAMES[2], "", "0.000000", "0.000000", "2"],  # was never the answer
        [NAMES[3], "0.000000", "", "0.000000", "0"],  # has no test image
    ]
    assert rows[4] == ["(accuracy)", "0.500000", "0.500000", "0.500000", "10"]
    assert rows[5][:2] == ["(mean of classes)", f"{(0.6 + 2 / 3) / 4:.6f}"]
    assert rows[6] == ["(mean of images)", f"{0.4 * 0.6 + 0.4 * 2 / 3:.6f}", "0.500000", "0.495238", "10"]


@pytest.mark.parametrize("classes", [2, 30, 1000])
def test_pictures_are_drawn_for_few_and_for_many_classes(classes, tmp_path):
    confusion = torch.eye(classes, dtype=torch.int64) * 3
    confusion[0, 1] = 4
    names = ["not \udcff Unicode, 鳥, $\\frac$", *(f"class {n} with a rather long name" for n in range(1, classes))]
    reports.write(tmp_path, Evaluation(0.1, 3 * classes, None, 3 * classes + 4, confusion), names)
    for name in ("confusion.png", "classes.png"):
        with PIL.Image.open(tmp_path / name) as picture:
            assert 200 <= picture.width <= 2500
            assert 200 <= picture.height <= 2500
            assert len(picture.convert("L").getcolors(256) or []) > 3


def test_without_matplotlib_the_tables_are_written_and_one_line_says_so(evaluation, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    reports.write(tmp_path, evaluation, NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.csv", "confusion.csv"]
    assert capsys.readouterr().out == "reports: no pictures without matplotlib; pip install 'amlrun[plots]'\n"
