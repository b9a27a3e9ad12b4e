"""`python -m runner.emulator DIR`: serve in the foreground. People use `amlrun emulator start`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runner.emulator.instance import EmulatorError, Settings, serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="runner.emulator", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--idle-minutes", type=float, default=0)
    parser.add_argument("--execution", choices=("real", "scripted"), default="real")
    args = parser.parse_args()
    try:
        serve(Settings(args.folder, args.port, args.python, args.idle_minutes, args.execution))
    except EmulatorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
