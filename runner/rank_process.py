"""One rank of a run, for every launcher: `python -S -E rank_process.py RUN_DIR [LOCAL_SIZE] -- ARGV...`.

Runs ARGV as its child, with the environment it was given and no input, sends the child's output to `logs/rank_<N>.log`
and writes what became of it to `ranks/<N>.json`:
`{rank, pid, started, ended, exit_code, signal, told_to_stop}`, times in seconds since 1970, null where not (yet) so.
Only the standard library, and little of it (no json, no pathlib, no typing): every rank waits for these imports.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import NoReturn

# Who started us, and what it calls our rank. Plain RANK counts only where torch's agent has set it.
RANK_VARIABLES = (
    ("TORCHELASTIC_RUN_ID", "RANK"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK"),
    ("PMI_RANK", "PMI_RANK"),
)
WORLD_SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_NODE_RANK", "MPI_LOCALRANKID")
LOCAL_SIZE_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
FORWARDED = (signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1

Record = dict[str, "int | float | None"]


def main(arguments: list[str]) -> int:
    """Run the child to its end and return its exit code; where a signal ended it, end by the same signal."""
    split = arguments.index("--")
    run_dir, local_size, argv = arguments[0], arguments[1:split], arguments[split + 1 :]
    die_with_parent()
    environment = dict(os.environ)
    rank = find_rank(environment)
    if local_size:
        simulate_node(environment, rank, int(local_size[0]))
    log = os.open(f"{run_dir}/logs/rank_{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    status = supervise(argv, environment, log, f"{run_dir}/ranks/{rank}.json", rank)
    if os.WIFSIGNALED(status):
        end_by(os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


def find_rank(environment: Mapping[str, str]) -> int:
    for source, variable in RANK_VARIABLES:
        if source in environment:
            return int(environment[variable])
    return 0


def simulate_node(environment: dict[str, str], rank: int, local_size: int) -> None:
    """Several nodes under one mpirun on this machine: ranks are numbered, and GPUs shared, as on nodes of their own."""
    for variables, value in ((LOCAL_RANK_VARIABLES, rank % local_size), (LOCAL_SIZE_VARIABLES, local_size)):
        environment.update({variable: str(value) for variable in variables if variable in environment})
    sizes = [int(environment[variable]) for variable in WORLD_SIZE_VARIABLES if variable in environment]
    nodes = sizes[0] // local_size if sizes else 1
    gpus = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    share = len(gpus) // nodes
    if share >= local_size:
        node = rank // local_size
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[node * share : (node + 1) * share])


def supervise(argv: list[str], environment: dict[str, str], log: int, path: str, rank: int) -> int:
    """Start the child, pass signals on to it, keep its record in `path`; returns its wait status."""
    record: Record = {"rank": rank, "pid": None, "started": time.time()}
    record |= {"ended": None, "exit_code": None, "signal": None, "told_to_stop": None}
    # A signal that comes before the handlers are in place waits, so that none is lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    wrapper = os.getpid()
    child = os.fork()
    if child == 0:
        become(argv, environment, log, wrapper)

    def forward(number: int, _frame: FrameType | None) -> None:
        record["told_to_stop"] = record["told_to_stop"] or time.time()
        try:  # noqa: SIM105 - contextlib takes 3 ms to import
            os.kill(child, number)
        except ProcessLookupError:
            pass  # it has just ended

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    write(path, record | {"pid": child})
    _, status = os.waitpid(child, 0)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if ended_by is None else None
    write(path, record | {"pid": child, "ended": time.time(), "exit_code": code, "signal": ended_by})
    return status


def become(argv: list[str], environment: dict[str, str], log: int, wrapper: int) -> NoReturn:
    """In the child: turn into ARGV. Never returns into the wrapper's code, whatever happens."""
    try:
        # A group of its own: launchers signal our whole group, and the child must get each signal once, from us.
        os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != wrapper:  # it was gone before we could ask
            os._exit(127)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for number in (*FORWARDED, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two, programs must not
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - an argument list, no shell
    except OSError as error:
        os.write(log, f"cannot start '{argv[0]}': {error.strerror}\n".encode())
    finally:
        os._exit(127)


def write(path: str, record: Record) -> None:
    """Beside and renamed, so that a reader never sees half of it."""
    text = ", ".join(f'"{key}": {"null" if value is None else value}' for key, value in record.items())
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w") as file:  # noqa: PTH123 - pathlib takes 10 ms to import
            file.write(f"{{{text}}}\n")
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:  # a full disk must not change how the rank itself ends
        print(f"rank_process: cannot write '{path}': {error}", file=sys.stderr)


def die_with_parent() -> None:
    """No rank outlives its launcher, even one killed with SIGKILL (Linux; elsewhere the final sweep ends it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def end_by(number: int) -> None:
    """End by this signal, without a second core file, so that the launcher sees what happened to the child."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
