"""A script of your own: no Hydra, no amlrun. It writes to ./outputs, which is kept."""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--name", default="world")
args = parser.parse_args()

Path("outputs").mkdir(exist_ok=True)
Path("outputs/greeting.txt").write_text(f"hello, {args.name}\n")
print(f"hello, {args.name}")
