"""`python -m runner` is the same as `amlrun`."""

from runner.cli import entry

entry()
