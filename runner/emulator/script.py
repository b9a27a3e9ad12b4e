"""Runs a user's script as Azure's runtime does: `python script.py SCRIPT ARGUMENTS...`.

The script is `__main__`, as if started by itself; afterwards whatever it has logged and the SDK still holds is sent
(Azure's runtime ends with the same call). Runs in the job's interpreter: only the standard library, nothing newer than
Python 3.8.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

FLUSH_SECONDS = 300


def main(arguments: list[str]) -> None:
    script = arguments[0]
    sys.argv[:] = arguments
    sys.path[0] = str(Path(script).resolve().parent)
    hide_own_frames()
    program = types.ModuleType("__main__")
    program.__file__ = script
    code = compile(Path(script).read_bytes(), script, "exec")
    sys.modules["__main__"] = program
    try:
        exec(code, program.__dict__)  # noqa: S102 - running it is the purpose
    finally:
        flush()


def flush() -> None:
    runs = sys.modules.get("azureml._run_impl.run_base")
    if runs is not None:
        runs._RunBase._kill(timeout=FLUSH_SECONDS)


def hide_own_frames() -> None:
    """A traceback begins in the user's script."""
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        shown(kind, error.with_traceback(trace), trace)

    sys.excepthook = hook


if __name__ == "__main__":
    main(sys.argv[1:])
