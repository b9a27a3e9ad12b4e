"""A user's training script: says what it was given, logs metrics, leaves a model."""

import argparse
import os
from pathlib import Path

from azureml.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--num-epochs", type=int, default=1)
parser.add_argument("--output_dir", default="./outputs")
parser.add_argument("--text", default="")
args = parser.parse_args()

run = Run.get_context()
print("run id:", run.id)
print("text:", repr(args.text))
print("variable:", os.environ.get("GREETING"))
print("token hidden:", "MSI_ENDPOINT" not in os.environ)
for epoch in range(args.num_epochs):
    run.log("best_val_acc", 0.5 + epoch / 10)
    print("epoch", epoch)
Path(args.output_dir).mkdir(exist_ok=True)
Path(args.output_dir, "model.pt").write_text("weights")
Path("logs", "extra.txt").write_text("a log of its own")
Path("lost.txt").write_text("neither in outputs nor in logs")
run.tag("finished", "yes")
