"""The experiments on data that are downloaded, from a loopback server, as the command line runs them."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, Cli
from tests.recipes import steps
from tests.train.serving import serving
from tests.train.test_idx import NAMES, images, labels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FILES = {
    "train_images": images(120, 28),
    "train_labels": labels(*(i % 10 for i in range(120))),
    "test_images": images(31, 28),
    "test_labels": labels(*(i % 10 for i in range(31))),
}
NO_HOROVOD = importlib.util.find_spec("horovod") is None
WAYS = [
    pytest.param("experiment=mnist-ddp", id="torch elastic"),
    pytest.param("experiment=mnist distribution=mpi distribution.processes_per_node=2", id="mpi"),
    pytest.param(
        "experiment=mnist-horovod",
        id="horovod",
        marks=pytest.mark.skipif(NO_HOROVOD, reason="`make horovod` builds it"),
    ),
]


def record_of(cli: Cli, project: Path, *overrides: str) -> dict[str, Any]:
    done = cli(project, "run", "--json", *overrides, "trainer.epochs=1")
    assert done.code == 0, done.err
    record: dict[str, Any] = json.loads(done.out)
    return record


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_with_workers_download_mnist_once(cli: Cli, project: Path, tmp_path: Path, way: str) -> None:
    files = {NAMES[part]: gzip.compress(content) for part, content in FILES.items()}
    named = [f"data.files.{part}={{name: {NAMES[part]}, checksum: null}}" for part in FILES]
    with serving(files) as served:
        keys = [f"data.url={served.url}", f"data.cache={tmp_path / 'cache'}", *named]
        record = record_of(cli, project, *way.split(), *keys, "trainer.batch_size=8", "trainer.workers=1")
    assert sorted(path for path, _ in served.asked) == sorted(files)
    logs = [Path(path).read_text() for path in record["logs"]]
    assert "of 31 images)" in logs[0]
    assert [log.count("has no checksum in the configuration") for log in logs] == [4, 0]


def test_birds_from_an_archive(cli: Cli, project: Path, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in [f"fowl/{part}/{bird}/{i}.png" for part in ("train", "val") for bird in ("a", "b") for i in "1234"]:
            with file.open(name, "w") as member:
                Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(member, format="png")
    (tmp_path / "fowl.zip").write_bytes(made.getvalue())
    keys = [f"data.url={(tmp_path / 'fowl.zip').as_uri()}", f"data.cache={tmp_path / 'cache'}", "data.size=32"]
    rows = "data.augment=[{kind: ColorJitter, brightness: 0.2}]"
    record = record_of(cli, project, "experiment=birds", "model.weights=null", "trainer.workers=1", rows, *keys)
    log = Path(record["logs"][0]).read_text()
    assert "data: 8 training and 8 test images, 2 classes" in log
    assert "pinned with data.checksum=sha256:" in log


@pytest.mark.parametrize("name", ["birds", "mnist", "mnist-ddp", "mnist-horovod"])
def test_the_line_for_azure_is_valid(cli: Cli, name: str) -> None:
    lines = (ROOT / "configs" / "experiment" / f"{name}.yaml").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("# On Azure: amlrun run ")]
    done = cli(ROOT, "validate", "--strict", *line.split()[5:])
    assert done.code == 0, done.err


def test_the_commands_of_the_page(cli: Cli, project: Path) -> None:
    ran = list(steps(ROOT / "docs" / "data.md"))
    for step in ran:
        done = cli(project, *step.argv[1:])
        assert done.code == step.code, f"{step.text}\n{done.err}"
    assert len(ran) >= 7
