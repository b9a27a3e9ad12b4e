"""Snapshots of random trees: what is staged and zipped is what was sent, also over parents; and what is refused."""

from __future__ import annotations

import zipfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.emulator import snapshots
from runner.emulator.messages import ServiceError
from tests.emulator.bodies import BODIES, CONTENT, snapshot_body
from tests.emulator.conftest import WS, Client, configuration, tree

CHECKED = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
NUMBERS = count()
# A file's and a folder's names never meet: no system has both at one place.
FOLDERS, FILES = (
    st.sampled_from(["d", "pkg", "a b", "é", ".hidden"]),
    st.sampled_from(["f.py", "g", "x y%41", "☃", "-"]),
)
PATHS = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(FOLDERS, max_size=3), FILES)
TREES = st.dictionaries(PATHS, st.binary(max_size=20), max_size=6)


def sent(client: Client, files: dict[str, bytes], parent: str | None = None, changed: set[str] | None = None) -> str:
    """A snapshot of `files`, of which only the changed ones travel."""
    identifier = f"t{next(NUMBERS)}"
    travelling = sorted(files) if changed is None else sorted(changed)
    nodes = client.ask("POST", f"{CONTENT}/getblob", {"FileNames": travelling})["fileNodes"]
    rows = []
    for node in nodes:
        content = files[node["fullName"]]
        client.signed("PUT", node["blobUri"], content)
        rows.append({"FullName": node["fullName"], "BlobUri": node["blobUri"], "FileSize": len(content)})
    body = {"ParentSnapshotId": parent, "DirTreeNode": tree(list(files)), "FileRevisionList": {"FileNodes": rows}}
    client.ask("POST", f"{CONTENT}/{identifier}", body)
    return identifier


def staged(client: Client, identifier: str) -> dict[str, bytes]:
    folder = client.service.store.folder / "staged" / f"{identifier}-{next(NUMBERS)}"
    snapshots.stage(client.service, identifier, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(client: Client, identifier: str) -> dict[str, bytes]:
    uri = client.ask("POST", f"{CONTENT}/{identifier}/zip")["zipSasUri"]
    with zipfile.ZipFile(client.signed("GET", uri).body) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


@CHECKED
@given(TREES)
def test_a_tree_there_and_back(shared: Client, files: dict[str, bytes]) -> None:
    identifier = sent(shared, files)
    assert staged(shared, identifier) == zipped(shared, identifier) == files
    assert shared.ask("GET", f"{CONTENT}/{identifier}/metadata")["files"] == sorted(files)


@CHECKED
@given(TREES, TREES, st.sets(PATHS))
def test_a_tree_over_its_parent(
    shared: Client, before: dict[str, bytes], news: dict[str, bytes], gone: set[str]
) -> None:
    parent = sent(shared, before)
    after = {path: content for path, content in {**before, **news}.items() if path not in gone}
    child = sent(shared, after, parent, set(after) & set(news))
    assert staged(shared, child) == after
    assert staged(shared, parent) == before
    grandchild = sent(shared, after, child, set())
    assert staged(shared, grandchild) == after


def posted(client: Client, **more: Any) -> str:
    return client.refused(
        "POST", f"{CONTENT}/t{next(NUMBERS)}", {**snapshot_body(client), "ParentSnapshotId": None, **more}
    )


def node(kind: Any, **children: Any) -> dict[str, Any]:
    return {"name": "", "type": kind, "children": children}


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (tree(["other.py"]), "file 'other.py' of the snapshot was never sent"),
        (tree(["a.py", "d/e/other.py"]), "file 'd/e/other.py' of the snapshot was never sent"),
        (node("Directory", **{"..": node("Directory", x=node("File"))}), "file name '../x' leads out of the snapshot"),
        (node("Directory", **{"/etc/x": node("File")}), "file name '/etc/x' leads out of the snapshot"),
        (node("Directory", **{"a\0": node("File")}), "file name 'a\0' leads out of the snapshot"),
        (node("Directory", x=node("Link")), "'x' is neither a File nor a Directory of the snapshot"),
        (node("Directory", x={"name": "x"}), "'x' is neither a File nor a Directory of the snapshot"),
        (node("Directory", x=None), "'x' is neither a File nor a Directory of the snapshot"),
        (node("Directory", x=5), "node 'x' is no object"),
        (node("Directory", x={"children": 5}), "children is no object"),
        ([], "DirTreeNode is no object"),
    ],
)
def test_trees_that_cannot_be(root: Any, words: str, shared: Client) -> None:
    """No file is left out in silence."""
    assert posted(shared, DirTreeNode=root) == words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"FileSize": 4}, "the bytes of 'a.py' did not arrive"),
        ({"FileSize": None}, "the bytes of 'a.py' did not arrive"),
        ({"FileSize": "3"}, "the bytes of 'a.py' did not arrive"),
        ({"BlobUri": "https://h/azureml-snapshots/none"}, "the bytes of 'a.py' did not arrive"),
        ({"BlobUri": "https://[h/x"}, "'https://[h/x' is no address of a blob"),
        ({"BlobUri": None}, "BlobUri is 'None'; it must be a text"),
        ({"FullName": "../a.py"}, "file name '../a.py' leads out of the snapshot"),
        ({"FullName": 5}, "a file name is '5'; it must be a text"),
        ({"Size": 3}, "a file node has an unknown field 'Size'"),
    ],
)
def test_files_that_did_not_arrive(change: dict[str, Any], words: str, shared: Client) -> None:
    files = snapshot_body(shared)["FileRevisionList"]["FileNodes"]
    assert posted(shared, FileRevisionList={"FileNodes": [{**files[0], **change}]}).startswith(words)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ParentSnapshotId", "none", "parent snapshot 'none' does not exist"),
        ("ParentSnapshotId", ["s"], "ParentSnapshotId is '['s']'; it must be a text"),
        ("Properties", "x", "Properties is no object of names and texts"),
        ("FileRevisionList", [], "FileRevisionList is no object"),
    ],
)
def test_fields_that_cannot_be(field: str, value: Any, words: str, shared: Client) -> None:
    assert posted(shared, **{field: value}) == words


def test_no_parent_has_three_names(shared: Client) -> None:
    for parent in (None, snapshots.NONE):
        assert staged(shared, sent(shared, {"a.py": b"1"}, parent)) == {"a.py": b"1"}
    body = {key: value for key, value in snapshot_body(shared).items() if key != "ParentSnapshotId"}
    shared.ask("POST", f"{CONTENT}/without", body)
    assert staged(shared, "without") == {"a.py": b"abc"}


def test_a_file_that_has_gone_is_not_left_out(shared: Client) -> None:
    (row,) = snapshot_body(shared)["FileRevisionList"]["FileNodes"]
    body = {"DirTreeNode": tree(["a.py"]), "FileRevisionList": {"FileNodes": [row]}}
    shared.ask("POST", f"{CONTENT}/gone", body)
    shared.signed("DELETE", row["BlobUri"])
    with pytest.raises(ServiceError, match=r"the bytes of 'a.py' in snapshot 'gone' are gone; submit again"):
        staged(shared, "gone")
    assert "are gone" in shared.refused("POST", f"{CONTENT}/gone/zip", expect=404)


@pytest.mark.parametrize(("method", "end"), [("GET", "/metadata"), ("POST", "/zip")])
def test_a_snapshot_that_is_not_there(method: str, end: str, shared: Client) -> None:
    assert shared.refused(method, f"{CONTENT}/none{end}", expect=404) == "snapshot 'none' does not exist"


def test_a_run_has_the_properties_of_its_snapshot(client: Client) -> None:
    """The SDK sends what git says with the snapshot, and shows it with the run."""
    client.cluster()
    _, _, body = BODIES["snapshot"](client)
    git = {"azureml.git.branch": "main", "azureml.git.dirty": "False"}
    client.ask("POST", f"{CONTENT}/withgit", {**body, "ParentSnapshotId": None, "Properties": git})
    client.submit("r1", configuration(), snapshot="withgit")
    properties = client.ask("GET", f"/history/v1.0{WS}/runs/r1")["properties"]
    assert {**git, "ContentSnapshotId": "withgit"}.items() <= properties.items()


def test_staging_makes_a_new_folder_only(shared: Client, tmp_path: Path) -> None:
    identifier = sent(shared, {"a.py": b"1"})
    with pytest.raises(FileExistsError):
        snapshots.stage(shared.service, identifier, tmp_path)
