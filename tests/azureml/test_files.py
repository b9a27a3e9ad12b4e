"""Logs, outputs and metrics: what they are called here, and that copies are complete or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.errors import TargetError
from runner.history import RunFiles
from runner.spec import Log
from runner.targets import azureml_files
from runner.targets.azureml_files import fetch, in_order, keep_logs, keep_outputs, kept_logs, rank_of, rows_of, shown
from runner.targets.azureml_workspace import Service

NEW = ("user_logs/std_log_process_0.txt", "user_logs/std_log_process_1.txt", "user_logs/std_log_process_10.txt")
OLD = ("azureml-logs/70_driver_log_rank_0.txt", "azureml-logs/70_driver_log_rank_1.txt")
OTHERS = ("system_logs/lifecycler/execution-wrapper.log", "azureml-logs/20_image_build_log.txt", "logs/own.txt")


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    found = history.files(tmp_path, "run")
    found.root.mkdir(parents=True)
    return found


class Played:
    """The SDK's handle of a run that has uploaded these files."""

    def __init__(self, uploaded: Mapping[str, bytes], metrics: Mapping[str, Any] | None = None) -> None:
        self.uploaded, self.metrics = uploaded, metrics or {}

    def get_file_names(self) -> list[str]:
        return list(self.uploaded)

    def download_files(self, prefix: str, output_directory: str) -> None:
        for name, content in self.uploaded.items():
            if name.startswith(prefix):
                path = Path(output_directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def get_metrics(self) -> Mapping[str, Any]:
        return self.metrics


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Played], None]:
    return lambda run: monkeypatch.setattr(azureml_files, "run_of", lambda service, run_id: run)


def log(name: str, content: bytes = b"") -> Log:
    return Log(name, rank_of(name), lambda offset: content[offset:])


@pytest.mark.parametrize(
    ("path", "rank"),
    [
        ("user_logs/std_log.txt", 0),
        ("user_logs/std_log_process_00.txt", 0),
        ("user_logs/std_log_process_12.txt", 12),
        ("azureml-logs/70_driver_log.txt", 0),
        ("azureml-logs/70_driver_log_rank_3.txt", 3),
        ("azureml-logs/70_driver_log_worker_1.txt", 1),
        ("user_logs/retry_001/std_log_process_0.txt", 0),
        ("user_logs/mpi_log.txt", None),
        ("azureml-logs/20_image_build_log.txt", None),
        ("system_logs/lifecycler/lifecycler.log", None),
        ("logs/own.txt", None),
    ],
)
def test_the_rank_is_in_the_name_in_both_layouts(path: str, rank: int | None) -> None:
    assert rank_of(path) == rank


@pytest.mark.parametrize("names", [NEW, OLD])
def test_ranks_come_first_in_order(names: tuple[str, ...]) -> None:
    mixed = [log(name) for name in (*OTHERS, *reversed(names))]

    assert [found.name for found in in_order(mixed)][: len(names)] == list(names)


def test_the_newest_attempt_of_a_rank_comes_first() -> None:
    names = ["user_logs/std_log_process_0.txt", "user_logs/retry_001/std_log_process_0.txt"]

    assert [found.name for found in in_order([log(name) for name in names])] == names[::-1]


def test_what_the_script_wrote_to_logs_is_called_as_for_local_runs() -> None:
    assert shown("logs/own.txt") == "script/own.txt"
    assert shown("logs/azureml/job_prep_azureml.log") == "logs/azureml/job_prep_azureml.log"
    assert shown("user_logs/std_log.txt") == "user_logs/std_log.txt"


@pytest.mark.parametrize("names", [NEW, OLD])
def test_every_log_is_kept_and_a_ranks_has_a_second_name(
    names: tuple[str, ...], service: Service, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [log(name, f"text of {name}".encode()) for name in (*names, *OTHERS[:2], "script/own.txt")]
    monkeypatch.setattr(azureml_files, "live_logs", lambda *_: there)
    keep_logs(service, "run", files)
    keep_logs(service, "run", files)

    assert sorted(found.name for found in kept_logs(files)) == sorted(found.name for found in there)
    assert [found.rank for found in kept_logs(files)][: len(names)] == [rank_of(name) for name in names]
    for name in names:
        assert files.rank_log(rank_of(name) or 0).read_text() == f"text of {name}"
    assert files.script_logs.joinpath("own.txt").is_file()


def test_a_log_that_cannot_be_read_keeps_no_other_from_being_kept(
    service: Service, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(offset: int) -> bytes:
        raise TargetError("a log cannot be read: connection broken")

    there = [Log(NEW[0], 0, broken), log(NEW[1], b"text")]
    monkeypatch.setattr(azureml_files, "live_logs", lambda *_: there)
    with pytest.raises(TargetError, match="connection broken"):
        keep_logs(service, "run", files)
    assert files.rank_log(1).read_text() == "text"
    assert not files.rank_log(0).exists()


def test_of_several_attempts_the_newest_has_the_ranks_name(
    service: Service, files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["user_logs/std_log_process_0.txt", "user_logs/retry_001/std_log_process_0.txt"]
    monkeypatch.setattr(azureml_files, "live_logs", lambda *_: [log(name, name.encode()) for name in names])
    keep_logs(service, "run", files)

    assert files.rank_log(0).read_text() == names[1]


def test_a_broken_connection_ends_no_following_and_no_copy_is_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bytes | None] = []

    def read(address: str, offset: int) -> bytes:
        answer = answers.pop(0)
        if answer is None:
            raise TargetError("a log cannot be read: connection broken")
        return answer

    monkeypatch.setattr(azureml_files, "read", read)
    answers[:] = [None, b"later"]
    assert [azureml_files.read_if_possible("a", 0) for _ in range(2)] == [b"", b"later"]
    answers[:] = [None, None, b"all"]
    assert azureml_files.read_surely("a", 0) == b"all"
    answers[:] = [None, None, None]
    with pytest.raises(TargetError, match="connection broken"):
        azureml_files.read_surely("a", 0)


def test_outputs_and_metrics_are_kept(service: Service, files: RunFiles, play: Callable[[Played], None]) -> None:
    play(Played({"outputs/deep/model.pt": b"w", "outputs/metrics.jsonl": b'{"loss": 1}\n', "logs/a.txt": b""}))
    keep_outputs(service, "run", files)

    assert (files.outputs / "deep/model.pt").read_bytes() == b"w"
    assert files.metrics.read_text() == '{"loss": 1}\n'
    assert sorted(path.name for path in files.root.iterdir()) == ["metrics.jsonl", "outputs"]


def test_without_any_output_the_folder_is_there_and_empty(
    service: Service, files: RunFiles, play: Callable[[Played], None]
) -> None:
    play(Played({"logs/a.txt": b""}))
    keep_outputs(service, "run", files)

    assert list(files.outputs.iterdir()) == []
    assert not files.metrics.exists()


def test_metrics_logged_to_the_run_are_kept_where_there_is_no_file(
    service: Service, files: RunFiles, play: Callable[[Played], None]
) -> None:
    play(Played({}, {"loss": [3.0, 2.0], "best": 2.0}))
    keep_outputs(service, "run", files)

    rows = [json.loads(line) for line in files.metrics.read_text().splitlines()]
    assert rows == [{"loss": 3.0, "best": 2.0}, {"loss": 2.0}]


def test_a_broken_download_leaves_nothing(
    service: Service, files: RunFiles, play: Callable[[Played], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Played({"outputs/a": b"1"})

    def broken(prefix: str, output_directory: str) -> None:
        Path(output_directory, "outputs").mkdir()
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(run, "download_files", broken)
    play(run)
    with pytest.raises(TargetError, match=r"the outputs of run 'run' cannot be downloaded: .*reset by peer"):
        keep_outputs(service, "run", files)
    assert list(files.root.iterdir()) == []


def test_when_another_process_was_first_its_copy_stays(
    service: Service, files: RunFiles, play: Callable[[Played], None]
) -> None:
    files.outputs.mkdir()
    (files.outputs / "a").write_text("theirs")
    play(Played({"outputs/a": b"ours"}))
    keep_outputs(service, "run", files)

    assert (files.outputs / "a").read_text() == "theirs"


def test_outputs_are_fetched_from_the_copy(files: RunFiles, tmp_path: Path) -> None:
    (files.outputs / "deep").mkdir(parents=True)
    (files.outputs / "deep/a").write_text("1")
    files.metrics.write_text("{}\n")

    assert fetch(None, "run", files, tmp_path / "to") == [tmp_path / "to/deep/a", tmp_path / "to/metrics.jsonl"]


def test_outputs_of_a_run_under_way_are_fetched_from_the_service(
    service: Service, files: RunFiles, tmp_path: Path, play: Callable[[Played], None]
) -> None:
    play(Played({"outputs/a": b"1"}))

    assert fetch(service, "run", files, tmp_path / "to") == [tmp_path / "to/a"]
    assert list(files.root.iterdir()) == []


def test_rows_hold_what_was_logged_together_and_no_tables() -> None:
    assert rows_of({}) == []
    assert rows_of({"loss": 1.5}) == [{"loss": 1.5}]
    assert rows_of({"a": [1, 2, 3], "b": [4], "table": {"x": [1]}, "image": [{"path": "p"}]}) == [
        {"a": 1, "b": 4},
        {"a": 2},
        {"a": 3},
    ]


def test_an_equal_question_is_not_asked_again_too_soon() -> None:
    slow, asked = Service(None, pace=60.0), []

    for _ in range(3):
        assert slow.paced("a", lambda: asked.append(1) or len(asked)) == 1
    assert slow.paced("b", lambda: "other") == "other"
    assert asked == [1]


def test_without_a_pace_every_question_is_asked(service: Service) -> None:
    asked: list[int] = []
    for _ in range(3):
        service.paced("a", lambda: asked.append(1))
    assert len(asked) == 3
