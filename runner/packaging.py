"""A folder with what an Azure ML web service needs to serve a model, tried here before it is handed over."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from runner import scoring
from runner.errors import TargetError

MANIFEST = "amlrun.json"
MODEL, SCORE, ENVIRONMENT, REQUEST = "model.onnx", "score.py", "environment.yml", "sample.json"
README, DEPLOYMENT = "README.md", "deployment.yml"
# What the service runs on beside its own server, in the versions that the package was tried with: up to the newest that
# the server's own packages admit (azureml-dataset-runtime 1.61 and 1.62: numpy<2.3.3).
TRIED_WITH = {"onnxruntime": None, "numpy": "2.3.2", "pillow": None}
SERVER = "azureml-defaults==1.61.0"
SAME = 1e-6
TIMEOUT_SECONDS = 300

# As Azure's server does it (azureml-inference-server-http, user_script.py): the file runs under another name, which is
# not in sys.modules. A process of its own, which sees nothing of amlrun.
TRY = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("entry_module", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.init()
print(json.dumps(script.run(sys.stdin.read())))
"""

README_TEXT = """\
# An image classifier as a web service

{count} classes: {classes}. Made by `amlrun models package`, which has answered `sample.json` with `score.py` on the
machine that wrote this.

- `model.onnx`: the model, its labels and its preprocessing
- `score.py`: `init()` loads it, `run(data)` answers; `environment.yml`: what they run on
- `sample.json`: a request, `{{"data": ...}}`: {takes}; or numbers as the model takes them, {shape} each

The answer is `{{"predictions": [{{"label", "probability", "labels", "probabilities"}}, ...]}}`, or `{{"error"}}` in the
place of an image that cannot be read.

## Deploy with the Python SDK (azureml-core), in this folder

```python
from azureml.core import Environment, Model, Workspace
from azureml.core.model import InferenceConfig
from azureml.core.webservice import AciWebservice

ws = Workspace.from_config()
model = Model.register(ws, model_name="classifier", model_path="model.onnx", model_framework=Model.Framework.ONNX)
env = Environment.from_conda_specification("amlrun-scoring", "environment.yml")
config = InferenceConfig(entry_script="score.py", environment=env)
service = Model.deploy(ws, "classifier", [model], config, AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=1))
service.wait_for_deployment(show_output=True)
print(service.run(open("sample.json").read()))
```

## Deploy with the command line (az ml, version 2)

```console
az ml online-endpoint create --name classifier-endpoint
az ml online-deployment create --all-traffic --file deployment.yml
az ml online-endpoint invoke --name classifier-endpoint --request-file sample.json
```
"""

DEPLOYMENT_TEXT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: classifier-endpoint
model:
  path: model.onnx
code_configuration:
  code: .
  scoring_script: score.py
environment:
  conda_file: environment.yml
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
instance_type: Standard_DS2_v2
instance_count: 1
"""


def package(model: Path, folder: Path, sample: Path | None, force: bool) -> dict[str, Any]:
    """Write the package of `model` and answer its sample request as the service would; returns the manifest.

    The files are made and tried beside `folder` and moved there when they answer as `amlrun models predict` does.
    Raises TargetError if they do not, or if `folder` holds anything that an earlier package did not write.
    """
    refuse_foreign(folder, force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".amlrun-package-", dir=folder.parent) as beside:
        made = Path(beside)
        shutil.copyfile(model, made / MODEL)
        shutil.copyfile(Path(scoring.__file__), made / SCORE)
        scorer = scoring.load(made / MODEL)
        request, expected = sample_of(scorer, sample)
        (made / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        (made / ENVIRONMENT).write_text(environment(), encoding="utf-8")
        (made / README).write_text(readme(scorer, request), encoding="utf-8")
        (made / DEPLOYMENT).write_text(DEPLOYMENT_TEXT, encoding="utf-8")
        compare(tried(made), expected)
        manifest = {"files": sorted(path.name for path in made.iterdir()), "sha256": digest(model), **expected}
        (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in sorted(made.iterdir()):
            path.replace(folder / path.name)
    return manifest


def refuse_foreign(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise TargetError(f"'{folder}' is a file; choose another --output")
    if force or not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).is_file():
        raise TargetError(f"'{folder}' holds files that no package wrote; choose another --output, or --force")


def sample_of(scorer: scoring.Scorer, sample: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request, and the answer that `predict` gives to it."""
    try:
        if scorer.steps is None:
            numbers = np.zeros(scorer.shape, np.float32)
            (expected,) = scoring.classify(scorer, [numbers])
            return {"data": numbers.tolist()}, expected
        content = drawn(scorer) if sample is None else sample.read_bytes()
        (expected,) = scoring.classify(scorer, [scoring.read_image(scorer, content)])
    except (OSError, scoring.ScoringError) as error:
        raise TargetError(f"the sample '{sample}': {error}; name another image") from error
    return {"data": base64.b64encode(content).decode("ascii")}, expected


def drawn(scorer: scoring.Scorer) -> bytes:
    """A picture for models that nobody named one for: colours from left to right and from top to bottom."""
    side = 2 * int(scorer.shape[1])
    down, right = np.mgrid[0:side, 0:side] * (255 / side)
    colours = np.stack([right, down, 255 - right], axis=-1).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(colours).save(content, "PNG")
    return content.getvalue()


def tried(folder: Path) -> dict[str, Any]:
    """What the service answers to the sample request. Raises TargetError if it fails."""
    environment = {**os.environ, "AZUREML_MODEL_DIR": str(folder.resolve())}
    with (folder / REQUEST).open("rb") as request:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", TRY, str(folder.resolve() / SCORE)],
            stdin=request,
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT_SECONDS,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetError(f"the package does not run ({last}); nothing was written")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    (found,) = answer.get("predictions") or [answer]
    pairs = zip(found.get("probabilities", ()), expected["probabilities"], strict=False)
    same = found.get("labels") == expected["labels"] and all(abs(a - b) <= SAME for a, b in pairs)
    if not same:
        raise TargetError(f"the package answers {found} and 'predict' {expected}; nothing was written")


def environment() -> str:
    pins = [f"{name}=={pinned(version(name), newest)}" for name, newest in TRIED_WITH.items()]
    listed = "".join(f"      - {pin}\n" for pin in [*pins, SERVER])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"name: amlrun-scoring\ndependencies:\n  - python={python}\n  - pip\n  - pip:\n{listed}"


def pinned(here: str, newest: str | None) -> str:
    """The version installed here (without a build's own suffix), or `newest` if that is lower."""
    public = here.partition("+")[0]
    if newest is None:
        return public
    return min(public, newest, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])


def readme(scorer: scoring.Scorer, request: Mapping[str, Any]) -> str:
    classes = ", ".join(scorer.labels[:10]) + (", ..." if len(scorer.labels) > 10 else "")
    takes = "base64 of an image file, or a list of them" if isinstance(request["data"], str) else "a list of numbers"
    return README_TEXT.format(
        classes=classes, count=len(scorer.labels), takes=takes, shape=" x ".join(map(str, scorer.shape))
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
