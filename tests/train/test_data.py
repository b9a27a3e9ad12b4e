from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.train.serving import serving
from train.data import InMemory, digits, folder, synthetic
from train.data.batches import Draw, Fetch, Shares, loaded, training_batches
from train.data.batches import test_batches as every_test_batch
from train.data.split import stratified
from train.errors import TrainError

CPU = torch.device("cpu")


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 4, 13, 30])
def test_evaluation_counts_every_sample_once_over_all_ranks(size, world_size):
    samples = InMemory(torch.arange(size).float().view(-1, 1, 1, 1), torch.arange(size))
    trainer = {"batch_size": 4 * world_size, "workers": 0}
    seen: list[int] = []
    for rank in range(world_size):
        for _, labels in loaded(every_test_batch(samples, rank, world_size, trainer, CPU)):
            seen += labels.tolist()
    assert sorted(seen) == list(range(size))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "world_size", "workers"), [(13, 1, 2), (13, 2, 2), (13, 3, 2), (2, 3, 1)])
def test_evaluation_counts_every_sample_once_with_workers_too(size, world_size, workers):
    samples = InMemory(torch.arange(size).float().view(-1, 1, 1, 1), torch.arange(size))
    trainer = {"batch_size": 4 * world_size, "workers": workers}
    batches = [every_test_batch(samples, rank, world_size, trainer, CPU) for rank in range(world_size)]
    for _ in range(2):  # the workers stay for the next epoch
        assert sorted(label for rank in batches for _, labels in loaded(rank) for label in labels.tolist()) == list(
            range(size)
        )


def epoch_of(world_size, epoch, seed=0):
    shares = [Shares(50, 12, rank, world_size, seed) for rank in range(world_size)]
    for share in shares:
        share.set_epoch(epoch)
    return [set().union(*(draw.indices for draw in draws)) for draws in zip(*shares, strict=True)]


def test_batches_are_the_same_sets_however_many_processes_share_them():
    assert epoch_of(1, 2) == epoch_of(2, 2) == epoch_of(3, 2)
    assert [len(batch) for batch in epoch_of(3, 2)] == [12, 12, 12, 12]


def test_order_changes_with_epoch_and_seed_and_resumes_in_the_middle():
    assert epoch_of(1, 0) != epoch_of(1, 1)
    assert epoch_of(1, 0) != epoch_of(1, 0, seed=1)
    shares = Shares(50, 12, 0, 2, 0)
    shares.set_epoch(3)
    whole = list(shares)
    shares.set_epoch(3, first_batch=2)
    assert list(shares) == whole[2:]
    assert shares.draw(3, 1) == whole[1]


def test_batch_sizes_that_cannot_work_are_refused():
    with pytest.raises(TrainError, match="64 is for all processes together and does not divide by 3 processes"):
        Shares(1000, 64, 0, 3, 0)
    with pytest.raises(TrainError, match="64 is more than the 10 training images; use at most 10"):
        Shares(10, 64, 0, 1, 0)


class Noisy:
    """Draws from every generator that augmentation might use."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()]), index


def drawn(workers, first_batch=0):
    shares = Shares(12, 4, 0, 1, seed=9)
    shares.set_epoch(1, first_batch)
    return [images for images, _ in loaded(training_batches(Noisy(), shares, {"workers": workers}, CPU))]


def test_augmentation_depends_on_the_batch_alone_and_leaves_the_generators_as_they_were():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(0), strict=True))
    assert torch.equal(first[2], drawn(0, first_batch=2)[0])
    assert not torch.equal(first[0], first[1])
    other_rank = Fetch(Noisy(), (9, 1))[Draw(1, 0, (0, 1, 2, 3))]
    assert not torch.equal(first[0], other_rank[0])


@pytest.mark.slow
def test_worker_processes_draw_the_same():
    assert all(torch.equal(a, b) for a, b in zip(drawn(0), drawn(2), strict=True))


class Broken(Noisy):
    def __getitem__(self, index):
        raise TrainError("data.path: 'x.jpg' cannot be read; remove it")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_a_worker_cannot_load_arrives_in_its_own_words(workers):
    shares = Shares(12, 4, 0, 1, 0)
    with pytest.raises(TrainError, match=r"^data.path: 'x.jpg' cannot be read; remove it$"):
        list(loaded(training_batches(Broken(), shares, {"workers": workers}, CPU)))


def test_the_split_is_disjoint_stratified_and_complete():
    labels = [0] * 50 + [1] * 25 + [2] * 5
    names = [f"{i}.jpg" for i in range(80)]
    train, test = stratified(labels, names, 0.2)
    assert sorted(train + test) == list(range(80))
    assert Counter(labels[i] for i in test) == {0: 10, 1: 5, 2: 1}
    assert stratified(labels, names, 0.2) == (train, test)


def test_the_split_follows_names_not_positions():
    labels, names = [0] * 10, [f"{i}" for i in range(10)]
    held = {names[i] for i in stratified(labels, names, 0.3)[1]}
    held_reversed = {names[::-1][i] for i in stratified(labels, names[::-1], 0.3)[1]}
    assert held == held_reversed


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_a_fraction_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(TrainError, match="holds out nothing or everything"):
        stratified([0, 1], ["a", "b"], fraction)


@pytest.mark.slow
def test_digits_are_the_real_ones_split_once_for_all():
    data, again = digits.load(), digits.load(size=16, channels=3)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.shape == (1, 8, 8)
    assert again.shape == (3, 16, 16)
    assert torch.equal(data.test.labels, again.test.labels)
    rows = {tuple(image.flatten().tolist()) for image in data.train.images}
    assert not any(tuple(image.flatten().tolist()) in rows for image in data.test.images)
    assert abs(data.train.batch(range(1437))[0].mean().item()) < 1e-5


def test_shifted_moves_whole_images_by_at_most_the_given_pixels():
    images = torch.zeros(200, 1, 8, 8)
    images[:, :, 4, 4] = 1
    moved = digits.shifted(images, 1)
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(200))


def test_synthetic_is_the_same_each_time_with_other_noise_in_the_test_part():
    keys = {"classes": 3, "channels": 2, "size": 8, "train_images": 7, "test_images": 7}
    data, again = synthetic.load(**keys), synthetic.load(**keys)
    assert torch.equal(data.train.images, again.train.images)
    assert data.train.images.shape == (7, 2, 8, 8)
    assert not torch.equal(data.train.images, data.test.images)
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def photos(root, **counts):
    for name, count in counts.items():
        place = root / name.replace("__", "/")
        place.mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20 + i, 16), (i * 20, 0, 99)).save(place / f"{i}.png")
    return root


@pytest.mark.slow
def test_a_folder_of_one_level_is_split_always_alike(tmp_path):
    root = photos(tmp_path, cat=5, bird=10)
    (root / "bird" / "notes.txt").write_text("no image")
    data = folder.load(str(root), size=8)
    assert data.classes == ("bird", "cat")
    assert (len(data.train), len(data.test)) == (12, 3)
    assert not {name for name, _ in data.train.files} & {name for name, _ in data.test.files}
    assert folder.load(str(root), size=8).test.files == data.test.files
    image, label = data.test[0]
    assert image.shape == (3, 8, 8)
    assert label == 0


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_a_folder_with_parts_keeps_them(tmp_path, held_out):
    root = photos(tmp_path, **{"train__a": 2, "train__b": 2, f"{held_out}__b": 1})
    data = folder.load(str(root), size=8)
    assert [name for name, _ in data.test.files] == [f"{held_out}/b/0.png"]
    assert [label for _, label in data.test.files] == [1]


def test_an_archive_is_downloaded_and_its_single_top_folder_entered(tmp_path):
    photos(tmp_path / "birds", train__a=2, train__b=2, val__b=1)
    (tmp_path / "birds" / "train" / "a" / "._0.png").write_bytes(b"what a Mac adds")
    (tmp_path / "__MACOSX" / "birds").mkdir(parents=True)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for path in sorted(tmp_path.rglob("*")):
            file.write(path, path.relative_to(tmp_path))
    with serving({"birds.zip": made.getvalue()}) as served:
        checksum = f"sha256:{hashlib.sha256(made.getvalue()).hexdigest()}"
        keys = {"url": f"{served.url}/birds.zip", "checksum": checksum, "cache": str(tmp_path / "cache"), "size": 8}
        data = [folder.load(**keys) for _ in range(2)][1]
    assert len(served.asked) == 1
    assert [name for name, _ in data.train.files] == [
        "train/a/0.png",
        "train/a/1.png",
        "train/b/0.png",
        "train/b/1.png",
    ]
    assert [name for name, _ in data.test.files] == ["val/b/0.png"]


def test_without_crop_and_flip_a_training_image_is_seen_as_a_test_image_is(tmp_path):
    root = photos(tmp_path, train__a=1, train__b=1, test__a=1, test__b=1)
    data = folder.load(str(root), size=8, crop=1.0, flip=False)
    assert torch.equal(data.train[0][0], data.test[0][0])
    keys = {"size": 8, "crop": 1.0, "flip": False}
    changed = folder.load(str(root), augment=[{"kind": "RandomErasing", "p": 1.0, "value": 5.0}], **keys)
    assert not torch.equal(changed.train[0][0], data.train[0][0])
    assert torch.equal(changed.test[0][0], data.test[0][0])


@pytest.mark.slow
def test_photographs_are_the_same_from_worker_processes(tmp_path):
    root = photos(tmp_path, train__a=4, train__b=4, test__a=1)
    data = folder.load(str(root), size=8, augment=[{"kind": "ColorJitter", "hue": 0.2}])
    epochs = []
    for workers in (0, 2):
        shares = Shares(8, 4, 0, 1, seed=5)
        epochs.append([images for images, _ in loaded(training_batches(data.train, shares, {"workers": workers}, CPU))])
    assert all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_arrive_on_a_gpu_as_they_were(channels_last):
    cuda = torch.device("cuda")
    samples = InMemory(torch.rand(40, 3, 8, 8), torch.arange(40))
    batches = every_test_batch(samples, 0, 1, {"batch_size": 8, "workers": 0}, cuda)
    found = []
    for images, labels in loaded(batches, cuda, channels_last):
        assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
        found.append((images * 2, labels))
    assert torch.equal(torch.cat([images for images, _ in found]).cpu(), samples.images * 2)
    assert torch.equal(torch.cat([labels for _, labels in found]).cpu(), samples.labels)


def broken_folder(tmp_path, case):
    root = tmp_path / "photos"
    if case == "empty class":
        photos(root, a=1)
        (root / "b").mkdir()
    elif case == "one class":
        photos(root, a=1)
    elif case == "unknown class":
        photos(root, train__a=1, train__b=1, test__c=1)
    elif case == "empty":
        root.mkdir()
    return root


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("missing", "photos' is not a folder; point data.path at the images"),
        ("empty", "holds 0 class folder"),
        ("one class", "holds 1 class folder"),
        ("empty class", "b' holds no image; add some or remove the folder"),
        ("unknown class", "class 'c' is in .*test' only"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_refused(tmp_path, case, text):
    with pytest.raises(TrainError, match=text):
        folder.load(str(broken_folder(tmp_path, case)))


def test_a_corrupt_image_is_named(tmp_path):
    root = photos(tmp_path, a=2, b=2)
    (root / "a" / "0.png").write_bytes((root / "a" / "0.png").read_bytes()[:40])
    data = folder.load(str(root), size=8)
    part = next(part for part in (data.train, data.test) if ("a/0.png", 0) in part.files)
    with pytest.raises(TrainError, match=r"a/0.png' cannot be read as an image"):
        part[part.files.index(("a/0.png", 0))]


LOADING = """
import torch
from train.data import InMemory
from train.data.batches import Shares, loaded, training_batches
shares = Shares(8, 2, 0, 1, 0)
samples = InMemory(torch.zeros(8, 1, 1, 1), torch.zeros(8))
for _ in loaded(training_batches(samples, shares, {"workers": 1}, torch.device("cpu"))):
    print("loaded", flush=True)
    input()
"""


@pytest.mark.slow
def test_workers_end_with_a_training_process_that_is_killed():
    command = [sys.executable, "-c", LOADING]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "loaded\n"
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(started) == 3  # the server, its worker, and what counts shared memory
    left = psutil.wait_procs(started, timeout=20)[1]
    for one in left:
        one.kill()
    assert left == []
