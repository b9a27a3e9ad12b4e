"""Plain azureml-core: Microsoft's tutorial "Train PyTorch models at scale", section by section.

`python tutorial.py SECTION` in a shell that points to a workspace. Not a word in here about where that workspace is.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path

from azureml.core import Environment, Experiment, Model, Run, ScriptRunConfig, Workspace
from azureml.core.authentication import ServicePrincipalAuthentication
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.compute_target import ComputeTargetException
from azureml.core.runconfig import DockerConfiguration, MpiConfiguration, PyTorchConfiguration
from azureml.exceptions import ActivityFailedException, ExperimentExecutionException

HERE = Path(__file__).resolve().parent
# A picture of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
CURATED = "AzureML-acpt-pytorch-2.8-cuda12.6"


def cluster(ws, name="gpu-cluster", max_nodes=4):
    try:
        return ComputeTarget(workspace=ws, name=name)
    except ComputeTargetException:
        size = AmlCompute.provisioning_configuration(vm_size="Standard_NC4as_T4_v3", max_nodes=max_nodes)
        target = ComputeTarget.create(ws, name, size)
        target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
        return target


def environment():
    env = Environment.from_conda_specification("pytorch-env", str(HERE / "conda_dependencies.yml"))
    env.docker.base_image = "mcr.microsoft.com/azureml/openmpi5.0-cuda12.6-ubuntu24.04:20260621.v1"
    return env


def config(ws, script, **more):
    more.setdefault("environment", environment())
    return ScriptRunConfig(
        source_directory=str(HERE / "src"),
        script=script,
        compute_target=cluster(ws),
        docker_runtime_config=DockerConfiguration(use_docker=True, shm_size="8g"),
        **more,
    )


def finish(ws, src, experiment="tutorial", **more):
    run = Experiment(ws, experiment).submit(src, **more)
    run.wait_for_completion(show_output=True)
    return run


def refusal(kind, call):
    """The text of the error that a call must end with."""
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("it should have been refused")


def rank_logs(run, folder):
    """What every process printed, by log name."""
    run.download_files(prefix="user_logs", output_directory=folder)
    found = sorted(Path(folder, "user_logs").glob("std_log*.txt"))
    return {path.name: json.loads(path.read_text().splitlines()[0]) for path in found}


def compute(ws):
    target = cluster(ws, "sized", 3)
    assert target.get_status().scale_settings.maximum_node_count == 3
    assert cluster(ws, "sized").name == "sized"
    target.update(max_nodes=5, min_nodes=1)
    target.refresh_state()
    assert target.get_status().scale_settings.maximum_node_count == 5
    assert target.get_status().current_node_count == 1
    assert len(target.list_nodes()) == 1
    assert "sized" in ws.compute_targets
    names = {size["name"] for size in AmlCompute.supported_vmsizes(ws)}
    assert "Standard_NC4as_T4_v3" in names
    assert "Standard_NC6" not in names
    assert AmlCompute.list_usages(ws)
    target.delete()
    assert "ComputeTargetNotFound" in refusal(ComputeTargetException, lambda: ComputeTarget(ws, "sized"))


def environments(ws):
    first = environment().register(ws)
    again = environment().register(ws)
    assert (first.version, again.version) == ("1", "1")
    changed = environment()
    changed.python.conda_dependencies.add_pip_package("hydra-core")
    assert changed.register(ws).version == "2"
    assert Environment.get(ws, "pytorch-env").version == "2"
    assert Environment.get(ws, "pytorch-env", version="1").version == "1"
    assert Environment.get(ws, "pytorch-env", label="Latest").version == "2"
    curated = Environment.get(ws, CURATED)
    curated.save_to_directory("curated", overwrite=True)
    loaded = Environment.load_from_directory("curated")
    cloned = loaded.clone("my-pytorch")
    registered = cloned.register(ws)
    assert registered.docker.base_image == curated.docker.base_image
    assert {CURATED, "pytorch-env", "my-pytorch"} <= set(Environment.list(ws))
    src = config(ws, "ranks.py", environment=registered)
    assert finish(ws, src).get_status() == "Completed"


def single(ws):
    src = config(ws, "train.py", arguments=["--num-epochs", 3, "--output_dir", "./outputs", "--text", "a 'b' $HOME c"])
    src.run_config.environment_variables = {"GREETING": "hello there"}
    run = finish(ws, src, tags={"who": "tutorial"})
    assert run.get_status() == "Completed"
    assert run.get_metrics() == {"best_val_acc": [0.5, 0.6, 0.7]}, run.get_metrics()
    assert run.get_tags()["who"] == "tutorial"
    assert run.get_tags()["finished"] == "yes"
    names = run.get_file_names()
    assert {"outputs/model.pt", "logs/extra.txt", "user_logs/std_log.txt"} <= set(names), names
    assert not any("lost" in name for name in names)
    details = run.get_details()
    assert details["endTimeUtc"] > details["startTimeUtc"]
    assert set(details["logFiles"]) >= {"user_logs/std_log.txt", "azureml-logs/20_image_build_log.txt"}
    run.download_file("outputs/model.pt", "downloaded/model.pt")
    assert Path("downloaded/model.pt").read_text() == "weights"
    model = run.register_model("birds", model_path="outputs/model.pt", model_framework="PyTorch", tags={"a": "b"})
    assert (model.name, model.version) == ("birds", 1)
    assert run.register_model("birds", model_path="outputs/model.pt").version == 2
    assert [item.version for item in Model.list(ws, name="birds")] == [2, 1]
    assert [item.version for item in Model.list(ws, tags=["a"])] == [1]
    path = Model(ws, "birds", version=1).download("models", exist_ok=True)
    assert Path(path).read_text() == "weights"
    same = Run.get(ws, run.id)
    assert same.get_status() == "Completed"
    assert same.get_portal_url().startswith("https://127.0.0.1")
    assert [item.id for item in Experiment(ws, "tutorial").get_runs(tags={"who": "tutorial"})] == [run.id]
    run.restore_snapshot(path=".")


def local_model(ws):
    Path("m").mkdir(exist_ok=True)
    Path("m/a b é.txt").write_text("one")
    Path("m/c.txt").write_text("two")
    model = Model.register(ws, model_path="m", model_name="folder", description="d")
    path = Path(model.download("got", exist_ok=True))
    assert sorted(item.name for item in path.iterdir()) == ["a b é.txt", "c.txt"]


def mpi(ws):
    for nodes, per_node in ((2, 1), (2, 2), (1, 2)):
        src = config(ws, "ranks.py", distributed_job_config=MpiConfiguration(per_node, nodes))
        logs = rank_logs(finish(ws, src), f"mpi-{nodes}-{per_node}")
        assert len(logs) == nodes * per_node, logs
        for number, rank in enumerate(logs[f"std_log_process_{index}.txt"] for index in range(len(logs))):
            assert rank["OMPI_COMM_WORLD_RANK"] == str(number)
            assert rank["OMPI_COMM_WORLD_SIZE"] == str(nodes * per_node)
            assert rank["OMPI_COMM_WORLD_LOCAL_RANK"] == str(number % per_node)
            assert rank["OMPI_COMM_WORLD_LOCAL_SIZE"] == str(per_node)
            assert rank["AZUREML_CR_NODE_RANK"] == str(number // per_node)
            assert ("AZ_BATCH_MASTER_NODE" in rank) == (nodes > 1)
            assert ("AZ_BATCHAI_MPI_MASTER_NODE" in rank) == (nodes == 1)
            assert "MASTER_ADDR" not in rank
        assert len({rank["folder"] for rank in logs.values()}) == nodes


def pytorch(ws):
    src = config(ws, "ranks.py", distributed_job_config=PyTorchConfiguration(process_count=4, node_count=2))
    logs = rank_logs(finish(ws, src), "pytorch-4")
    for number in range(4):
        rank = logs[f"std_log_process_{number}.txt"]
        expected = (str(number), str(number % 2), str(number // 2), "4")
        assert (rank["RANK"], rank["LOCAL_RANK"], rank["NODE_RANK"], rank["WORLD_SIZE"]) == expected
        assert (rank["MASTER_ADDR"], rank["MASTER_PORT"]) == ("127.0.0.1", logs["std_log_process_0.txt"]["MASTER_PORT"])


def batchai(ws):
    words = (
        "--dist-backend nccl --dist-url $AZ_BATCHAI_PYTORCH_INIT_METHOD --rank $AZ_BATCHAI_TASK_INDEX --world-size 2"
    )
    src = config(
        ws,
        "ranks.py",
        arguments=words.split(),
        distributed_job_config=PyTorchConfiguration(communication_backend="Nccl", node_count=2),
    )
    logs = rank_logs(finish(ws, src), "batchai")
    for number in (0, 1):
        rank = logs[f"std_log_process_{number}.txt"]
        url = f"tcp://{rank['MASTER_ADDR']}:{rank['MASTER_PORT']}"
        assert rank["arguments"] == [
            "--dist-backend",
            "nccl",
            "--dist-url",
            url,
            "--rank",
            str(number),
            "--world-size",
            "2",
        ]


def command(ws):
    src = ScriptRunConfig(
        source_directory=str(HERE / "src"),
        command="python ranks.py --node $NODE_RANK && echo second",
        compute_target=cluster(ws),
        environment=environment(),
        distributed_job_config=PyTorchConfiguration(node_count=2),
    )
    logs = rank_logs(finish(ws, src), "command")
    assert [rank["arguments"] for rank in logs.values()] == [["--node", "0"], ["--node", "1"]]


def old_logs(ws):
    src = config(ws, "ranks.py", distributed_job_config=MpiConfiguration(1, 2))
    src.run_config.environment_variables = {"AZUREML_COMPUTE_USE_COMMON_RUNTIME": "false"}
    run = finish(ws, src)
    names = set(run.get_file_names())
    assert {"azureml-logs/70_driver_log_rank_0.txt", "azureml-logs/70_driver_log_rank_1.txt"} <= names, names


def failing(ws):
    cases = (
        (None, "std_log.txt"),
        (MpiConfiguration(1, 3), "std_log_process_1.txt"),
        (PyTorchConfiguration(process_count=2, node_count=2), "std_log_process_1.txt"),
    )
    for distribution, log in cases:
        src = config(ws, "fails.py", distributed_job_config=distribution)
        words = refusal(ActivityFailedException, lambda src=src: finish(ws, src, "failures"))
        assert "the learning rate is a banana" in words, words
        assert log in words, words
    assert {run.get_status() for run in Experiment(ws, "failures").get_runs()} == {"Failed"}


def cancelling(ws):
    run = Experiment(ws, "tutorial").submit(config(ws, "endless.py", distributed_job_config=MpiConfiguration(1, 2)))
    give_up = time.monotonic() + 60
    while run.get_status() != "Running" and time.monotonic() < give_up:
        time.sleep(0.1)  # the service has nothing to wait on but its status
    run.cancel()
    while run.get_status() not in ("Canceled", "Completed", "Failed") and time.monotonic() < give_up:
        time.sleep(0.1)  # the same
    assert run.get_status() == "Canceled"


def interactive(ws):
    run = Experiment(ws, "by-hand").start_logging(snapshot_directory=None)
    run.log("loss", 0.25)
    run.log_row("point", x=1, y=2)
    run.log_table("table", {"x": [1, 2], "y": [3, 4]})
    Path("note.txt").write_text("hello")
    run.upload_file("outputs/note.txt", "note.txt")
    child = run.child_run("child")
    child.log("loss", 1)
    child.complete()
    run.complete()
    assert run.get_status() == "Completed"
    assert run.get_metrics()["loss"] == 0.25
    assert run.get_metrics()["table"] == {"x": [1, 2], "y": [3, 4]}
    assert [item.get_status() for item in run.get_children()] == ["Completed"]
    failed = Experiment(ws, "by-hand").start_logging(snapshot_directory=None)
    failed.fail("no data")
    assert failed.get_status() == "Failed"
    assert "no data" in json.dumps(failed.get_details()["error"])


def history(ws):
    """What people do with runs besides training."""
    experiment = Experiment(ws, "history")
    run = experiment.start_logging(snapshot_directory=None, display_name="shown")
    Path("folder/sub").mkdir(parents=True, exist_ok=True)
    for number in range(5):
        Path(f"folder/sub/{number}.txt").write_text(str(number))
    Path("big.bin").write_bytes(os.urandom(70 * 1024 * 1024))
    run.upload_folder("stuff", "folder")
    run.upload_file("big.bin", "big.bin")
    Path("dot.png").write_bytes(base64.b64decode(DOT))
    run.log_image("picture", path="dot.png")
    run.log_list("list", [1, 2.5, 3])
    for step in range(300):
        run.log("many", step)
    run.set_tags({"a": "1", "b": "2"})
    run.remove_tags(["b"])
    run.add_properties({"p": "q"})
    run.display_name = "renamed"
    run.complete()
    same = ws.get_run(run.id)
    assert (same.get_tags(), same.get_properties()["p"], same.display_name) == ({"a": "1"}, "q", "renamed")
    assert same.get_metrics()["many"] == list(range(300))
    assert same.get_metrics(name="list") == {"list": [1, 2.5, 3]}
    assert "big.bin" in same.get_file_names()
    same.download_file("big.bin", "again.bin")
    assert Path("again.bin").read_bytes() == Path("big.bin").read_bytes()
    same.download_files(prefix="stuff", output_directory="got")
    assert sorted(path.name for path in Path("got/stuff/sub").iterdir()) == [f"{number}.txt" for number in range(5)]
    assert "history" in ws.experiments
    assert [item.id for item in experiment.get_runs(properties={"p": "q"})] == [run.id]
    assert [item.id for item in experiment.get_runs(include_children=True)] == [run.id]
    children = run.create_children(count=3)
    assert len(list(run.get_children())) == len(children) == 3
    assert Workspace.list(ws.subscription_id)[ws.name]
    assert Environment.get(ws, CURATED).get_image_details(ws).image_exist


def watched(ws):
    """A job that uses the run as a context: the SDK itself uploads what appears in logs/ and outputs/."""
    run = finish(ws, config(ws, "context.py"), "watched")
    assert run.get_status() == "Completed", run.get_details()
    assert {"logs/own.txt", "outputs/o.txt", "by-hand.txt"} <= set(run.get_file_names()), run.get_file_names()
    run.get_all_logs(destination="all-logs")
    assert any(path.name == "std_log.txt" for path in Path("all-logs").rglob("*.txt"))
    assert [item.get_status() for item in run.get_children()] == ["Completed"]
    assert run.get_metrics()["loss"] == 0.5


def storage(ws):
    datastore = ws.get_default_datastore()
    Path("data/sub").mkdir(parents=True, exist_ok=True)
    Path("data/sub/a b.txt").write_text("bytes")
    datastore.upload("data", target_path="birds", overwrite=True, show_progress=False)
    assert datastore.download("down", prefix="birds", show_progress=False) == 1
    assert Path("down/birds/sub/a b.txt").read_text() == "bytes"
    assert datastore.name in ws.datastores


def vault(ws):
    keys = ws.get_default_keyvault()
    keys.set_secret("one", "1")
    keys.set_secrets({"two": "2", "three": "3"})
    assert keys.get_secret("one") == "1"
    assert keys.get_secrets(["two", "nine"]) == {"two": "2", "nine": None}
    assert {item["name"] for item in keys.list_secrets()} == {"one", "two", "three"}
    keys.delete_secret("one")
    assert {item["name"] for item in keys.list_secrets()} == {"two", "three"}


def principal(ws):
    secret = os.environ["MSI_ENDPOINT"].split("/")[-2]
    auth = ServicePrincipalAuthentication("00000000-0000-0000-0000-00000000000a", "some-app", secret)
    same = Workspace.get(ws.name, auth=auth, subscription_id=ws.subscription_id, resource_group=ws.resource_group)
    assert same.compute_targets is not None


def several(ws):
    """Six runs of two nodes on four nodes: at most two at a time, none lost."""
    src = config(ws, "ranks.py", distributed_job_config=PyTorchConfiguration(node_count=2))
    runs = [Experiment(ws, "several").submit(src, tags={"sweep": "s"}) for _ in range(6)]
    for run in runs:
        run.wait_for_completion()
    listed = Experiment(ws, "several").get_runs(tags={"sweep": "s"})
    assert {run.id: run.status for run in listed} == {run.id: "Completed" for run in runs}


def refused(ws):
    cases = (
        (config(ws, "ranks.py", distributed_job_config=MpiConfiguration(1, 9)), "at most 4"),
        (config(ws, "ranks.py", distributed_job_config=PyTorchConfiguration(process_count=3, node_count=2)), "divide"),
    )
    for src, word in cases:
        words = refusal(ExperimentExecutionException, lambda src=src: Experiment(ws, "tutorial").submit(src))
        assert word in words, words


SECTIONS = (
    compute,
    environments,
    single,
    local_model,
    mpi,
    pytorch,
    batchai,
    command,
    old_logs,
    failing,
    cancelling,
    interactive,
    history,
    watched,
    storage,
    vault,
    principal,
    several,
    refused,
)

if __name__ == "__main__":
    workspace = Workspace.from_config()
    for section in SECTIONS:
        if section.__name__ in sys.argv[1:] or sys.argv[1:] == ["all"]:
            started = time.monotonic()
            section(workspace)
            print(f"{section.__name__}: passed in {time.monotonic() - started:.1f} s", flush=True)
