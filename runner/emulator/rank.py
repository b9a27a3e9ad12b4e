"""One process of a run on its "node": `python -S -E rank.py LAUNCH_FILE [RANK]`.

Goes to the node's folder, sends its output to the rank's log, sets the rank's variables, expands `$NAME` in arguments,
and becomes the program. Under mpirun the rank is what mpirun says. Only the standard library.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Mapping

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    with open(arguments[0], encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs every rank its import
        launch = json.load(file)
    number = int(arguments[1]) if len(arguments) > 1 else mpi_rank(os.environ)
    rank = launch["ranks"][number]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    environment = {**os.environ, **rank["environment"]}
    log = os.open(rank["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(rank["folder"])
    argv = [expand(word, environment) for word in launch["argv"]] if launch["expands"] else launch["argv"]
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, programs must not inherit that
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - an argument list, no shell
    except OSError as error:
        print(f"cannot start '{argv[0]}': {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def mpi_rank(environment: Mapping[str, str]) -> int:
    return next(int(environment[name]) for name in RANK_VARIABLES if name in environment)


def expand(word: str, environment: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` become the variable's value; a name that is not set stays as it is."""
    return re.sub(
        r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))",
        lambda found: environment.get(found[1] or found[2], found[0]),
        word,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
