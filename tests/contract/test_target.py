"""What every target promises. Parametrised over the rows of TARGETS that can run on this machine."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from target_bench import Bench, forever, states

from runner import history
from runner.errors import TargetError
from runner.spec import Layout, State
from runner.targets import TARGETS, load_target

AZURE = (
    pytest.mark.slow,
    # An extra: `make test-slow` runs this row in an environment that has it.
    pytest.mark.skipif(find_spec("azureml") is None, reason="needs azureml-core: pip install 'amlrun[azure]'"),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
)
# Targets that need something else to run against: azureml has an emulator.
RUNNABLE = ("local", "azureml")
PARAMETERS = ("local", pytest.param("azureml", marks=AZURE))
AWKWARD = ("a b", "", "--n=5", "$HOME", "`id`", "\"'", "\\", "ünïcode", "line\nline", "*", "--", "a=b,c")
PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.fixture(params=PARAMETERS)
def bench(request: pytest.FixtureRequest, make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench(request.param)


def test_every_row_is_known_here() -> None:
    assert set(RUNNABLE) <= set(TARGETS)


def test_a_run_passes_through_its_states(bench: Bench) -> None:
    run = bench.run("print('hello')")

    passed = states(run)
    assert (passed[0], passed[-1]) == (State.PLANNED, State.COMPLETED)
    assert State.RUNNING in passed
    assert len(set(passed)) == len(passed)
    assert [time for _, time in run.phases] == sorted(time for _, time in run.phases)
    assert run.state is State.COMPLETED
    assert run.failure is None
    assert run.ended == run.phases[-1][1]
    assert bench.text(run) == "hello\n"


def test_stored_states_are_those_returned(bench: Bench) -> None:
    run = bench.run()

    assert history.load_run(bench.project, run.id) == run == bench.target.states([run])[0]


def test_arguments_arrive_unchanged(bench: Bench) -> None:
    # Azure expands $NAME in a script's arguments: the tutorial relies on it. The plan of a module has none.
    words = tuple(word for word in AWKWARD if bench.kind == "local" or "$" not in word)
    run = bench.run(PRINT_ARGUMENTS, arguments=words)

    assert tuple(json.loads(bench.log(run))) == words


def test_a_command_of_several_words_arrives_unchanged(bench: Bench) -> None:
    run = bench.run(script="", command=(sys.executable, "-c", PRINT_ARGUMENTS, *AWKWARD))

    assert tuple(json.loads(bench.log(run))) == AWKWARD


def test_a_command_of_one_word_is_that_program(bench: Bench) -> None:
    run = bench.run(script="", command=("date; echo no line for bash",))

    assert run.state is State.FAILED
    assert "no line for bash\n" not in bench.text(run).splitlines(keepends=True)


def test_a_bash_line(bench: Bench) -> None:
    run = bench.run(script="", shell="for i in 1 2; do echo $i; done; yes | head -n 1; python -c 'print(3)'")

    assert bench.text(run) == "1\n2\ny\n3\n"
    assert run.state is State.COMPLETED


def test_a_failing_bash_line_fails_the_run(bench: Bench) -> None:
    run = bench.run(script="", shell="echo so far; exit 9")

    assert run.failure is not None
    assert (run.state, run.failure.exit_code) == (State.FAILED, 9)


def test_variables_reach_the_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "7")  # of a launcher above us: not about this run
    script = "import os; print(os.environ['MINE'], os.environ['AMLRUN_RUN_ID'], os.environ.get('RANK'))"
    run = bench.run(script, environment={"MINE": "a 'b' $c"})

    assert bench.text(run) == f"a 'b' $c {run.id} None\n"


def test_a_secret_reaches_the_process_and_is_stored_nowhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.needs("secrets")
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    plan = bench.plan("import os; print(len(os.environ['MY_TOKEN']))", secrets=("MY_TOKEN",))
    plan = dataclasses.replace(plan, request=bench.target.request(plan))
    [run] = bench.ended(bench.submit(plan))

    assert bench.text(run) == "12\n"
    stored = [path for path in bench.project.rglob("*") if path.is_file()]
    assert len(stored) > 5
    assert not [path for path in stored if b"s3cr3t-value" in path.read_bytes()]


def test_inputs_reach_the_process_as_arguments_and_variables(bench: Bench, tmp_path: Path) -> None:
    bench.needs("inputs")
    (bench.project / "data").mkdir()
    script = "import os, sys; print(*sys.argv[1:], os.environ['AMLRUN_INPUT_photos'], sep='|')"
    inputs = {"photos": {"path": "data"}, "far": {"path": str(tmp_path)}}
    run = bench.run(script, inputs=inputs, arguments=("--data", "input:photos", "input:far", "input:other"))

    data = bench.project / "data"
    assert bench.text(run) == f"--data|{data}|{tmp_path}|input:other|{data}\n"


def test_standard_input_is_empty(bench: Bench) -> None:
    run = bench.run("import sys; print(repr(sys.stdin.read()))")

    assert bench.text(run) == "''\n"


def test_logs_are_read_from_an_offset_while_the_run_goes_on(bench: Bench) -> None:
    [run] = bench.submit(bench.plan(forever()))
    bench.wait_for_text(run, "started")

    [log] = [log for log in bench.target.logs(run) if log.rank == 0]
    assert log.read(0) == b"started\n"
    assert log.read(3) == b"rted\n"
    assert log.read(100) == b""


def test_output_that_is_no_text_is_kept_as_it_is(bench: Bench) -> None:
    run = bench.run(r"import sys; sys.stdout.buffer.write(b'\xff\xfe\x00\n'); sys.exit(1)")

    assert bench.log(run) == b"\xff\xfe\x00\n"
    assert run.state is State.FAILED


def test_no_output_at_all(bench: Bench) -> None:
    run = bench.run("")

    assert run.state is State.COMPLETED
    assert [(log.rank, log.read(0)) for log in bench.target.logs(run) if log.rank is not None] == [(0, b"")]
    assert bench.target.metrics(run) == []


@pytest.mark.slow
def test_much_output_is_complete(bench: Bench) -> None:
    run = bench.run("for number in range(60_000): print(f'{number:040d}')")

    assert len(bench.log(run)) == 60_000 * 41
    assert bench.log(run).endswith(b"59999\n")


def test_metrics_come_while_the_run_goes_on_even_from_a_torn_file(bench: Bench) -> None:
    bench.needs("live outputs")
    script = """
        file = open("outputs/metrics.jsonl", "w")
        file.write('{"step": 1, "loss": 0.5}\\n[]\\n{"step": 2, "lo')
        file.flush()
    """
    [run] = bench.submit(bench.plan(forever(script)))
    bench.wait_for_text(run, "started")

    assert bench.target.metrics(run) == [{"step": 1, "loss": 0.5}]


def test_outputs_and_metrics_are_fetched(bench: Bench, tmp_path: Path) -> None:
    script = """
        import pathlib
        pathlib.Path("outputs/deep/er").mkdir(parents=True)
        pathlib.Path("outputs/deep/er/model.pt").write_bytes(b"weights")
        pathlib.Path("outputs/metrics.jsonl").write_text('{"loss": 1}\\n')
    """
    run = bench.run(script)
    written = bench.target.fetch(run, tmp_path / "there")

    assert written == [tmp_path / "there/deep/er/model.pt", tmp_path / "there/metrics.jsonl"]
    assert written[0].read_bytes() == b"weights"
    assert bench.target.metrics(run) == [{"loss": 1}]
    assert "written outside" not in run.note


def test_a_failed_run_says_why(bench: Bench) -> None:
    script = """
        def inner():
            raise ValueError("boom")
        try:
            inner()
        except ValueError as error:
            raise RuntimeError("outer") from error
    """
    run = bench.run(script)

    assert run.failure is not None
    assert (run.state, run.failure.rank, run.failure.exit_code) == (State.FAILED, 0, 1)
    assert run.failure.cause == "RuntimeError: outer"
    assert run.failure.evidence == bench.text(run).rstrip()
    assert "ValueError: boom" in run.failure.evidence
    assert states(run)[-1] is State.FAILED


ENDINGS = (
    ("os._exit(3)", 3, "ended with exit code 3: before"),
    ("sys.exit('no data today')", 1, "ended with exit code 1: no data today"),
    ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL: most likely out of memory"),
    ("os.kill(os.getpid(), signal.SIGTERM)", 143, "killed by SIGTERM"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "killed by SIGSEGV (segmentation fault)"),
    ("os.abort()", 134, "killed by SIGABRT (aborted)"),
)


@pytest.mark.slow
def test_an_end_without_a_traceback_is_named(bench: Bench) -> None:
    scripts = [f"import os, signal, sys\nprint('before', flush=True)\n{ending}" for ending, _, _ in ENDINGS]
    runs = bench.ended(bench.submit(*[bench.plan(script, slots=2) for script in scripts]))

    for run, (_, exit_code, cause) in zip(runs, ENDINGS, strict=True):
        assert run.failure is not None
        assert (run.failure.cause, run.failure.exit_code, run.failure.rank) == (cause, exit_code, 0)
        assert run.failure.evidence


def test_cancel_stops_a_running_run(bench: Bench) -> None:
    [run] = bench.submit(bench.plan(forever()))
    bench.wait_for_text(run, "started")
    bench.target.cancel(run)
    bench.target.cancel(run)
    [run] = bench.ended([run])

    assert run.state is State.CANCELED
    assert run.failure is None
    assert bench.processes() == []


def test_cancelling_an_ended_run_changes_nothing(bench: Bench) -> None:
    run = bench.run()
    bench.target.cancel(run)

    assert bench.target.states([run]) == [run]


@pytest.mark.slow
def test_cancel_reaches_a_run_that_still_waits_and_no_other(bench: Bench) -> None:
    first, second, third = bench.submit(bench.plan(forever()), bench.plan(), bench.plan("print('third')"))
    bench.wait_for_text(first, "started")
    bench.until([second], lambda runs: runs[0].state is State.QUEUED)
    bench.target.cancel(second)
    [second] = bench.ended([second])
    assert bench.target.states([first])[0].state is State.RUNNING
    bench.target.cancel(first)
    first, third = bench.ended([first, third])

    assert State.RUNNING not in states(second)
    assert second.state is State.CANCELED
    assert (first.state, third.state) == (State.CANCELED, State.COMPLETED)


def test_cancelling_a_plan_that_was_never_sent(bench: Bench) -> None:
    plan = bench.plan("print('must not run')")
    history.store_plan(bench.project, plan)
    bench.target.cancel(history.load_run(bench.project, plan.id))

    [run] = bench.submit(plan)
    assert run.state is State.CANCELED


def test_a_script_may_catch_the_signal_and_save(bench: Bench) -> None:
    script = """
        import pathlib, signal, sys
        def save(number, frame):
            pathlib.Path("outputs/checkpoint").write_text("saved")
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
    """
    [run] = bench.submit(bench.plan(forever(script)))
    bench.wait_for_text(run, "started")
    bench.target.cancel(run)
    [run] = bench.ended([run])

    assert run.state is State.CANCELED
    assert [path.read_text() for path in bench.target.fetch(run, bench.project / "there")] == ["saved"]


def test_a_script_that_ignores_the_signal_is_killed(bench: Bench) -> None:
    [run] = bench.submit(bench.plan(forever("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")))
    bench.wait_for_text(run, "started")
    bench.target.cancel(run)

    assert bench.ended([run])[0].state is State.CANCELED
    assert bench.processes() == []


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_stopped(bench: Bench) -> None:
    run = bench.run(forever(), limits={"max_minutes": 0.005})

    assert run.failure is not None
    assert (run.state, run.failure.cause) == (State.FAILED, "stopped after 0.005 minutes (limits.max_minutes)")


def test_submitting_a_plan_twice_starts_it_once(bench: Bench) -> None:
    counter = bench.project / "counter"
    plan = bench.plan(f"open({str(counter)!r}, 'a').write('x')")
    [first] = bench.submit(plan)
    [again] = bench.submit(plan)
    bench.ended([first])
    [after] = bench.submit(plan)

    assert first.id == again.id == after.id
    assert after.state is State.COMPLETED
    assert counter.read_text() == "x"


@pytest.mark.slow
def test_one_slot_runs_one_after_the_other(bench: Bench) -> None:
    runs = bench.ended(bench.submit(*[bench.plan() for _ in range(3)]))

    times = [dict(run.phases) for run in runs]
    assert [run.state for run in runs] == [State.COMPLETED] * 3
    times.sort(key=lambda phases: phases["running"])
    assert times[0]["completed"] <= times[1]["running"]
    assert times[1]["completed"] <= times[2]["running"]


def test_two_slots_run_two_at_a_time(bench: Bench) -> None:
    meet = f"""
        import os, pathlib, sys, time
        place = pathlib.Path({str(bench.project)!r})
        (place / sys.argv[1]).touch()
        while not (place / sys.argv[2]).exists():
            time.sleep(0.01)  # until the other run is there too: one slot would wait for ever
        print(sorted(os.sched_getaffinity(0)))
    """
    plans = [bench.plan(meet, slots=2, arguments=pair) for pair in (("a", "b"), ("b", "a"))]
    runs = bench.ended(bench.submit(*plans))

    assert [run.state for run in runs] == [State.COMPLETED] * 2
    if bench.kind != "local":  # nodes of a cluster have cores of their own
        return
    cores = [json.loads(bench.log(run)) for run in runs]
    assert all(cores)
    assert len(cores[0] + cores[1]) == 1 or not set(cores[0]) & set(cores[1])


def test_a_failed_run_does_not_stop_the_next(bench: Bench) -> None:
    runs = bench.ended(bench.submit(bench.plan("raise SystemExit(2)"), bench.plan()))

    assert [run.state for run in runs] == [State.FAILED, State.COMPLETED]


def test_an_unknown_run_is_an_error_that_says_what_there_is(bench: Bench) -> None:
    known = bench.run()
    unknown = dataclasses.replace(known, id="nowhere", url="local://nowhere")

    for ask in (bench.target.logs, bench.target.metrics, bench.target.cancel):
        with pytest.raises(TargetError, match=f"no run 'nowhere'; there are: '{known.id}'"):
            ask(unknown)
    with pytest.raises(TargetError, match="no run 'nowhere'"):
        bench.target.states([unknown])
    with pytest.raises(TargetError, match="no run 'nowhere'"):
        bench.target.fetch(unknown, bench.project / "there")


def test_a_request_is_json_and_says_the_same_each_time(bench: Bench) -> None:
    plan = bench.plan(layout=Layout("pytorch", 2, 2, "gloo"), environment={"A": "1"})

    first = bench.target.request(plan)
    assert json.loads(json.dumps(first)) == first == bench.target.request(plan)
    assert not history.files(bench.project, plan.id).root.exists()


def test_code_that_is_not_staged_is_refused_before_anything_is_stored(bench: Bench) -> None:
    plan = bench.plan()
    (history.snapshot_dir(bench.project, plan.snapshot.digest) / "script.py").unlink()
    history.snapshot_dir(bench.project, plan.snapshot.digest).rmdir()

    with pytest.raises(TargetError, match="is not staged"):
        bench.target.submit([plan])
    assert not history.files(bench.project, plan.id).root.exists()


def test_a_target_that_does_not_exist_is_named() -> None:
    with pytest.raises(TargetError, match=r"no target 'lokal'; did you mean 'local'\?"):
        load_target("lokal")
    with pytest.raises(TargetError, match="no target 'x'; there are: local, azureml, azureml_v2"):
        load_target("x")
