from __future__ import annotations

import os

import pytest
import torch

from train import checkpoint
from train.checkpoint import Progress
from train.errors import TrainError


def state(config, step=1, **more):
    return {"identity": checkpoint.identity(config), "progress": {"step": step}, "ranks": [], **more}


def saved(folder, config, *steps, keep=9):
    paths = []
    for at, step in enumerate(steps):
        paths.append(checkpoint.save(folder, state(config, step), keep))
        os.utime(paths[-1], ns=(at, at))
    return paths


def test_the_newest_are_kept_and_nothing_lies_beside_them(tmp_path, config):
    saved(tmp_path, config, 1, 2, 3)
    checkpoint.save(tmp_path, state(config, 4), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000003.pt", "step_00000004.pt"]


def test_the_one_just_written_is_kept_whatever_the_clock_says(tmp_path, config):
    (first,) = saved(tmp_path, config, 9)
    os.utime(first, ns=(2**62, 2**62))
    path = checkpoint.save(tmp_path, state(config, 1), keep=1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    checkpoint.write_whole({"a": 1}, path)

    def full(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_whole({"a": 2}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"identity")
    content[at] ^= 1
    path.write_bytes(content)


def other_zip(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello", "world")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, other_zip, lambda path: path.write_bytes(b"")])
def test_auto_takes_the_newest_whole_one(tmp_path, config, damage):
    older, newer = saved(tmp_path, config, 1, 2)
    damage(newer)
    os.utime(newer, ns=(5, 5))
    found, notes = checkpoint.find("auto", tmp_path, config)
    assert found is not None
    assert found["progress"]["step"] == 1
    assert notes == [f"'{newer}' is torn, or no checkpoint of this version: skipped", f"going on from '{older}'"]


def test_auto_leaves_another_trainings_checkpoints_alone(tmp_path, config):
    saved(tmp_path, {**config, "seed": 99}, 1, 2)
    found, notes = checkpoint.find("auto", tmp_path, config)
    assert found is None
    assert notes == [f"2 checkpoint(s) of another configuration in '{tmp_path}': not used"]
    assert checkpoint.find("never", tmp_path, config) == (None, [])
    assert checkpoint.find("auto", tmp_path / "none", config) == (None, [])


def test_how_it_is_stored_is_no_part_of_a_trainings_identity(config):
    before = checkpoint.identity(config)
    config["trainer"].update(resume="never", checkpoint={}, workers=4)
    config["name"] = "other"
    assert checkpoint.identity(config) == before
    config["trainer"]["epochs"] = 4
    assert checkpoint.identity(config) != before


def test_a_given_path_is_taken_whatever_trained_it_and_a_wrong_one_refused(tmp_path, config):
    (path,) = saved(tmp_path, {**config, "seed": 99}, 7)
    for given in (path, tmp_path):
        found, _ = checkpoint.find(str(given), tmp_path, config)
        assert found is not None
    with pytest.raises(TrainError, match=r"trainer.resume: 'nowhere' does not exist"):
        checkpoint.find("nowhere", tmp_path, config)
    truncate(path)
    with pytest.raises(TrainError, match="no whole checkpoint in"):
        checkpoint.find(str(path), tmp_path, config)


def test_sums_survive_another_number_of_ranks():
    state = {"ranks": [{"random": {}, "sums": [1.0, 8.0]}, {"random": {}, "sums": [2.0, 8.0]}]}
    assert checkpoint.part_of_rank(state, 1, 2)["sums"] == [2.0, 8.0]
    parts = [checkpoint.part_of_rank(state, rank, 3) for rank in range(3)]
    assert [part["sums"] for part in parts] == [[3.0, 16.0], [0.0, 0.0], [0.0, 0.0]]
    assert all(part["random"] is None for part in parts)


@pytest.mark.parametrize(
    ("spec", "epoch", "step", "expected"),
    [
        ({"every_epochs": 2}, 1, 6, False),
        ({"every_epochs": 2}, 2, 12, True),
        ({"every_epochs": 2}, 5, 30, True),
        ({"every_steps": 4}, 1, 6, False),
        ({"every_steps": 4}, 2, 12, True),
        ({"every_steps": 4}, 5, 30, True),
        ({"every_minutes": 9}, 2, 12, False),
        ({"every_minutes": 9}, 5, 30, True),
        ({}, 5, 30, False),
    ],
)
def test_when_the_end_of_an_epoch_is_saved(spec, epoch, step, expected):
    whole = {"every_epochs": None, "every_steps": None, "every_minutes": None, **spec}
    assert checkpoint.due(whole, Progress(epoch=epoch, step=step), last=epoch == 5) is expected
