"""Datasets as the SDK makes them, with azureml-dataset-runtime: registered in versions, and read by runs."""

import json
from pathlib import Path

from azureml.core import Dataset, Environment, Experiment, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.exceptions import UserErrorException

READS = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
print(json.dumps([str(folder) == os.environ["birds"], {path.name: path.read_text() for path in folder.rglob("*.txt")}]))
"""
ws = Workspace.from_config()
store = ws.get_default_datastore()
Path("raw/deep").mkdir(parents=True)
Path("raw/a.txt").write_text("one")
Path("raw/deep/b.txt").write_text("two")
Dataset.File.upload_directory("raw", (store, "birds"), show_progress=False)
files = Dataset.File.from_files((store, "birds"))
first = files.register(ws, "birds", tags={"a": "b"})
second = files.register(ws, "birds", create_new_version=True)
assert (first.version, second.version) == (1, 2)
found = Dataset.get_by_name(ws, "birds")
assert (found.version, Dataset.get_by_name(ws, "birds", version=1).tags) == (2, {"a": "b"})
assert Dataset.get_by_id(ws, found.id).name == "birds"
size = AmlCompute.provisioning_configuration(vm_size="Standard_DS3_v2", max_nodes=1)
cluster = ComputeTarget.create(ws, "datasets", size)
Path("src").mkdir()
Path("src/reads.py").write_text(READS)
for given in (found.as_named_input("birds").as_download(), files.as_named_input("birds").as_mount()):
    source = ScriptRunConfig("src", "reads.py", [given], compute_target=cluster, environment=Environment("e"))
    run = Experiment(ws, "datasets").submit(source)
    run.wait_for_completion(show_output=False)
    run.download_file("user_logs/std_log.txt", "said.txt")
    assert json.loads(Path("said.txt").read_text()) == [True, {"a.txt": "one", "b.txt": "two"}]
found.unregister_all_versions()
try:
    Dataset.get_by_name(ws, "birds")
except UserErrorException as error:
    print("all of it:", type(error).__name__)
