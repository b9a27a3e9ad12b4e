"""Which log is what, by its name; and which files of a folder are logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli import main
from runner.diagnose.layouts import Phase, read_folder, records_of, source_of
from runner.errors import TargetError
from tests.conftest import Cli, write


@pytest.mark.parametrize(
    ("name", "phase", "rank", "attempt"),
    [
        ("azureml-logs/20_image_build_log.txt", Phase.BUILD, None, 0),
        ("20_image_build_log_2.txt", Phase.BUILD, None, 0),
        ("azureml-logs/55_azureml-execution-tvmps_ab12_p.txt", Phase.PULL, None, 0),
        ("azureml-logs/60_control_log.txt", Phase.NODE, None, 0),
        ("azureml-logs/65_job_prep-tvmps_ab12_p.txt", Phase.PREPARE, None, 0),
        ("logs/azureml/job_prep_azureml.log", Phase.PREPARE, None, 0),
        ("azureml-logs/70_driver_log.txt", Phase.RANK, 0, 0),
        ("azureml-logs/70_driver_log_rank_3.txt", Phase.RANK, 3, 0),
        ("azureml-logs/70_driver_log_worker_1.txt", Phase.RANK, 1, 0),
        ("azureml-logs/70_driver_log-worker-0.txt", Phase.RANK, 0, 0),
        ("azureml-logs/70_driver_log_2.txt", Phase.RANK, 2, 0),
        ("azureml-logs/70_driver_log_ps_0.txt", Phase.LAUNCHER, None, 0),
        ("azureml-logs/70_mpi_log.txt", Phase.LAUNCHER, None, 0),
        ("azureml-logs/75_job_post-tvmps_ab12_p.txt", Phase.AFTER, None, 0),
        ("azureml-logs/80_driver_log.txt", Phase.AFTER, None, 0),
        ("logs/azureml/job_release_azureml.log", Phase.AFTER, None, 0),
        ("logs/azureml/0_116_azureml.log", Phase.AFTER, None, 0),
        ("logs/azureml/executionlogs.txt", Phase.LAUNCHER, None, 0),
        ("azureml-logs/hyperdrive.txt", Phase.LAUNCHER, None, 0),
        ("user_logs/std_log.txt", Phase.RANK, 0, 0),
        ("user_logs/std_log_process_0.txt", Phase.RANK, 0, 0),
        ("user_logs/std_log_process_07.txt", Phase.RANK, 7, 0),
        ("user_logs/std_log_node_01_worker.txt", Phase.RANK, 1, 0),
        ("user_logs/std_log_node_00_ps.txt", Phase.LAUNCHER, None, 0),
        ("user_logs/mpi_log.txt", Phase.LAUNCHER, None, 0),
        ("user_logs/retry_001/std_log_process_0.txt", Phase.RANK, 0, 1),
        ("system_logs/data_capability/data-capability.log", Phase.PREPARE, None, 0),
        ("system_logs/hosttools_capability/hosttools-capability.log", Phase.PREPARE, None, 0),
        ("system_logs/cs_capability/cs-capability.log", Phase.NODE, None, 0),
        ("system_logs/lifecycler/lifecycler.log", Phase.NODE, None, 0),
        ("logs/rank_12.log", Phase.RANK, 12, 0),
        ("ranks/12.json", Phase.RECORD, 12, 0),
        ("logs/launcher.log", Phase.LAUNCHER, None, 0),
        ("none_x/attempt_1/3/stderr.log", Phase.RANK, 3, 1),
        ("1/rank.2/stdout", Phase.RANK, 2, 0),
        ("my-rank-4.out", Phase.RANK, 4, 0),
        ("notes.txt", Phase.UNKNOWN, None, 0),
    ],
)
def test_a_name_says_phase_rank_and_attempt(name: str, phase: Phase, rank: int | None, attempt: int) -> None:
    source = source_of(name)
    assert (source.phase, source.rank, source.attempt) == (phase, rank, attempt)


def test_of_a_known_layout_only_its_logs_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"user_logs/std_log.txt": "x", "requirements.txt": "y", "outputs/rank_0.log": "z", "a.json": "{}"})
    assert [log.name for log in read_folder(tmp_path)] == ["user_logs/std_log.txt"]


def test_of_an_unknown_layout_every_text_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.out": "x", "b/c.err": "y", "model.pt": "z"})
    assert [log.name for log in read_folder(tmp_path)] == ["a.out", "b/c.err"]


def test_a_single_file_will_do(tmp_path: Path) -> None:
    write(tmp_path, {"saved": "Killed\n"})
    assert [(log.name, log.text) for log in read_folder(tmp_path / "saved")] == [("saved", "Killed\n")]


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "std_log.txt").write_bytes(b"\xff" * 1_500_000 + b"end")
    [log] = read_folder(tmp_path)
    assert (len(log.text), log.text[-3:]) == (1_000_000, "end")


def test_a_note_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"rank_0.log": "", "ranks/0.json": '{"rank": 0, "exit_', "ranks/1.json": '{"exit_code": 1}'})
    assert records_of(read_folder(tmp_path)) == {1: {"exit_code": 1}}


def test_where_there_is_nothing_the_error_says_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path, {"model.pt": "", "ranks/0.json": "{}"})
    with pytest.raises(TargetError, match=r"no logs in '.*'; looked for azureml-logs/\*.txt, user_logs/std_log"):
        read_folder(tmp_path)
    with pytest.raises(TargetError, match=r"no folder '.*gone'; name a run, or a folder that holds azureml-logs"):
        read_folder(tmp_path / "gone")


# The verb


def test_a_folder_needs_no_project(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path, {"logs/rank_0.log": "epoch 1\n", "logs/rank_1.log": "epoch 1\n"})
    done = cli(tmp_path, "diagnose", str(tmp_path / "logs"))
    assert (done.code, done.out) == (0, "no failure found in 2 logs\n")
    write(tmp_path, {"logs/rank_1.log": "epoch 1\nKilled\n"})
    done = cli(tmp_path, "diagnose", "logs")
    assert done.code == 5
    assert done.out.splitlines()[0] == "rank 1 of 2: out of memory: Killed"
    assert done.out.splitlines()[-1] == "log: logs/rank_1.log"


def test_what_is_neither_run_nor_folder_is_refused(cli: Cli, tmp_path: Path, bare: Path) -> None:
    assert cli(tmp_path, "diagnose", "nothing").err == (
        "amlrun: 'nothing' is no folder here, and there is no project whose run it could be; name a folder of logs, or "
        "go to the project's folder\n"
    )
    done = cli(bare, "diagnose", "nothing")
    assert (done.code, done.out) == (4, "")
    assert done.err.endswith("; a folder of logs would do too, but 'nothing' is none\n")
    assert cli(bare, "diagnose", "./gone").err.startswith(
        "amlrun: no folder 'gone'; name a run, or a folder that holds"
    )


def test_secrets_of_a_log_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "c2lnbmF0dXJl" * 4
    write(tmp_path, {"a.log": f"Traceback (most recent call last):\nOSError: https://h/a?sig={secret} is gone\n"})
    for options in ([], ["--json"]):
        assert main(["diagnose", str(tmp_path), *options]) == 5
        out = capsys.readouterr().out
        assert secret not in out
        assert "is gone" in out
