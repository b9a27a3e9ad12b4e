"""Logs that look like a failure and are none, or like another one: for each, what must not be said."""

from __future__ import annotations

import pytest

from runner.diagnose import CAUSES, NamedLog, RankEnd, examine, explain

TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    main()\n'
LAYOUTS = {
    "2020": ("azureml-logs/70_driver_log_{rank}.txt", "azureml-logs/60_control_log.txt"),
    "2021": ("user_logs/std_log_process_{rank:02}.txt", "system_logs/lifecycler/lifecycler.log"),
    "here": ("logs/rank_{rank}.log", "logs/launcher.log"),
}


def kind(*texts: str, layout: str = "2021", codes: dict[int, int] | None = None) -> tuple[str, int | None] | None:
    """What the logs of ranks 0, 1, ... show, and of which rank."""
    logs = [NamedLog(LAYOUTS[layout][0].format(rank=rank), text) for rank, text in enumerate(texts)]
    logs += [
        NamedLog(f"ranks/{rank}.json", f'{{"rank": {rank}, "exit_code": {code}}}')
        for rank, code in (codes or {}).items()
    ]
    found = examine(logs)
    return None if found is None else (found.kind, found.failure.rank)


# A line near a cause's words that no process fails with; `after` would follow it.
FINE = [
    "loss 0.1 Killed 3 processes",
    "bus errors: 0",
    "Bus errors so far: 0",
    "unable to open config, using the default",
    "Permission denied, but went on",
    "No such file or directory: no cache yet",
    "train: loss 0.3 acc 0.9",
    "train: epoch 1 of 3",
    "train: 100%",
    "train: [1/10] loss 0.1",
    "train: lr=0.1",
    "INFO train: the loss fell",
    "train: tracker 'mlflow' failed and is off from here: OSError()",
    "Could not load model.pt, starting anew",
    "Could not override the seed, it is fixed",
    "Segmentation faults: none",
    "Segmentation fault handling enabled",
    "usage: a.py [-h]",
    "Terminated early by the callback",
    "no Traceback (most recent call last) here",
    "NCCL WARN something slow",
    "Name or service not known, using the copy",
    "MemoryErrors: 0",
    "SyntaxErrors found: 0",
    "quota: 5 of 10 GB used",
    "epoch 3 Address book already in use",
    "[rank0]: done",
    "exit code 1 of ls ignored",
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("line", FINE)
def test_a_line_that_is_no_failure(line: str, layout: str) -> None:
    for text in (f"{line}\n", f"epoch 1\n{line}\nepoch 2\n", f"{line}\n" * 30):
        assert kind(text, layout=layout) is None, text


# What a process that did fail said, and the cause that must not be taken for its own.
OTHERS = [
    ("ValueError: CUDA is out of the question", "gpu_memory"),
    ("ValueError: bus errors are counted", "shared_memory"),
    ("ValueError: Not killed", "host_memory"),
    ("KeyError: 'MemoryError:'", "host_memory"),
    ("mylib.ImportErrors: none", "import"),
    ("ValueError: targets 3 are not out of bounds", "labels"),
    ("RuntimeError: the port is in use by nobody", "port_in_use"),
    ("OSError: [Errno 281] odd", "disk_full"),
    ("OSError: [Errno 240] odd", "too_many_files"),
    ("ValueError: quota of patience exceeded", "quota"),
    ("ValueError: node was here", "preempted"),
    ("ValueError: train: not at the start", "refused"),
    ("requests.HTTPError: 404 Client Error: Not Found", "sign_in"),
    ("ValueError: mount point chosen", "data_access"),
    ("ValueError: manifest known", "image_pull"),
    ("ValueError: a code of 0 was returned", "image_build"),
]


@pytest.mark.parametrize(("error", "wrong"), OTHERS)
def test_a_failure_of_another_kind(error: str, wrong: str) -> None:
    assert wrong in {row.kind for row in CAUSES}
    found = explain([RankEnd(0, TRACE + error, "a.log", exit_code=1)])
    assert (found.kind, found.failure.cause) == ("exception", error)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_failure_in_both_of_azures_layouts_and_ours(layout: str) -> None:
    peer = TRACE + "RuntimeError: Connection closed by peer [10.0.0.4]:17"
    own = TRACE + "ValueError: mine"
    assert kind(peer, own, peer, layout=layout) == ("exception", 1)
    assert kind(own, layout=layout) == ("exception", 0)
    assert kind("fine\n", "fine\n", layout=layout) is None


# Texts as they are found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("\n\n \n", None),
        ("Traceback (most recent call last):\n", ("exception", 0)),
        ('Traceback (most recent call last):\n  File "a.py", line 1, in f\n', ("exception", 0)),
        (TRACE + "ValueError\n", ("exception", 0)),
        (TRACE + "ValueError: a\nb\nc\n", ("exception", 0)),
        (TRACE.replace("\n", "\r\n") + "ValueError: x\r\n", ("exception", 0)),
        ("\x1b[31m" + TRACE + "ValueError: x\x1b[0m\n", ("exception", 0)),
        ("\ufeff" + TRACE + "ValueError: x\n", ("exception", 0)),
        ("\ufffd\x00\x07" * 50 + "\n" + TRACE + "ValueError: \ufffd\n", ("exception", 0)),
        (TRACE + "ValueError: " + "x" * 1_000_000, ("exception", 0)),
        (TRACE + "MemoryError", ("host_memory", 0)),
        ("epoch\n" * 200_000 + TRACE + "ValueError: x\n", ("exception", 0)),
        (TRACE + "ValueError: x\n" + "epoch\n" * 1000, None),
        ("Killed", ("host_memory", 0)),
        ("bash: line 3:   412 Killed                  python a.py\n", ("host_memory", 0)),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_odd_texts(text: str, expected: tuple[str, int] | None) -> None:
    assert kind(text) == expected


GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "a.py", line 2, in f
    | ValueError: one
    +---------------- 2 ----------------
    | TypeError: two
    +------------------------------------
"""


def test_a_group_of_exceptions_is_a_failure_shown_whole() -> None:
    found = examine([NamedLog("std_log.txt", f"epoch 1\n{GROUP}")])
    assert found is not None
    assert found.failure.evidence == GROUP.rstrip()


DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize("link", [DURING, CAUSED])
@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("KeyError: 'x'", "ValueError: no x", "exception"),
        ("ValueError: x", "OSError: [Errno 28] No space left on device", "disk_full"),
        ("OSError: [Errno 28] No space left on device", "ValueError: not saved", "disk_full"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "RuntimeError: step failed", "gpu_memory"),
        ("FileNotFoundError: [Errno 2] No such file: 'a'", "ValueError: no data", "exception"),
        ("ImportError: no x", "ModuleNotFoundError: No module named 'y'", "import"),
    ],
)
def test_chains_of_exceptions(link: str, first: str, last: str, expected: str) -> None:
    found = explain([RankEnd(0, f"{TRACE}{first}\n{link}{TRACE}{last}\n", "a.log", exit_code=1)])
    assert found.kind == expected
    assert found.failure.evidence.startswith("Traceback")
    assert first in found.failure.evidence
    assert last in found.failure.evidence


# Many ranks at once


def test_of_many_that_failed_by_themselves_the_first_by_its_end_counts() -> None:
    ends = [
        RankEnd(rank, TRACE + f"ValueError: {rank}", f"{rank}", exit_code=1, ended=100.0 - rank) for rank in range(64)
    ]
    assert explain(ends).failure.rank == 63
    same = [RankEnd(rank, TRACE + "ValueError: x", f"{rank}", exit_code=1, ended=5.0) for rank in (3, 1, 2)]
    assert explain(same).failure.rank == 1
    unknown = [
        RankEnd(0, TRACE + "ValueError: x", "0", exit_code=1),
        RankEnd(1, TRACE + "ValueError: y", "1", exit_code=1, ended=9.0),
    ]
    assert explain(unknown).failure.rank == 1  # a time that is known comes before none


def test_times_in_the_logs_decide_whatever_the_order_of_their_lines() -> None:
    late = "2024-01-01 10:00:09 step\n2024-01-01 10:00:01 flushed late\n" + TRACE + "ValueError: late"
    early = "2024-01-01 10:00:05 step\n" + TRACE + "ValueError: early"
    assert kind(late, early) == ("exception", 0)  # the last line before its end says 10:00:01
    assert kind(late.replace(":01 flushed", ":08 flushed"), early) == ("exception", 1)
    assert kind("2024-13-45 99:99:99 odd\n" + TRACE + "ValueError: a", early) == ("exception", 1)


def test_a_rank_that_ended_well_is_no_cause_whatever_its_log_says() -> None:
    handled = TRACE + "ValueError: handled\n"
    assert kind(handled, "Killed\n", layout="here", codes={0: 0, 1: 137}) == ("host_memory", 1)
    assert kind(handled, layout="here", codes={0: 0}) is None
