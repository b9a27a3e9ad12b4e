"""Uses the run as a context manager, has a child, uploads by hand, reads its own experiment."""

from pathlib import Path

from azureml.core import Run

with Run.get_context() as run:
    run.log("loss", 0.5)
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/o.txt").write_text("o")
    Path("logs/own.txt").write_text("own")
    Path("note.txt").write_text("note")
    run.upload_file("by-hand.txt", "note.txt")
    child = run.child_run("child")
    child.log("loss", 1)
    child.complete()
    print(run.experiment.name, run.experiment.workspace.name, [other.id for other in run.experiment.get_runs()])
