"""Runs until it is stopped."""

import time

print("ready", flush=True)
while True:
    time.sleep(0.1)  # a loop, not one long sleep: Python handles a signal between two of them
