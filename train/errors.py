"""What the user of the training script can act on."""

from __future__ import annotations


class TrainError(Exception):
    """Printed as `train: <what>; <what to do>` without a traceback; the process exits with `exit_code`."""

    exit_code = 2


class DivergedError(TrainError):
    """The loss is no longer a number: nothing was wrong with what was asked, so not the configuration's code."""

    exit_code = 1


class StoppedError(TrainError):
    """Told to stop by SIGTERM, and ready to go on: the shell's code for a process that this signal ended."""

    exit_code = 143
