"""What `plan` says about a tree as people have them: data, environments, keys, one huge file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli, write

MANY = 3_000
BIG = 200 * 1024 * 1024


def test_the_report_names_everything_that_matters(cli: Cli, bare: Path) -> None:
    write(bare, {".gitignore": "data/\n", "main.py": "print(1)\n", ".env": "TOKEN=1\n"})
    write(bare, {"deploy/id_rsa": "-----BEGIN OPENSSH PRIVATE " + "KEY-----\n"})
    (bare / "data").mkdir()
    for index in range(MANY):
        (bare / "data" / f"{index}.bin").touch()
    with (bare / "weights.bin").open("wb") as file:
        file.truncate(BIG)
    report = json.loads(cli(bare, "plan", "--json", "code.script=main.py").out)["snapshot"]
    left_out = {item["path"]: (item["rule"], item["source"]) for item in report["left_out"]}
    assert left_out["data/"] == ("data/", ".gitignore")
    assert left_out[".env"] == (".env*", "always left out")
    assert report["biggest"][0] == {"path": "weights.bin", "bytes": BIG}
    assert report["secrets"] == [{"place": "deploy/id_rsa:1:1", "kind": "a private key"}]
    text = cli(bare, "plan", "code.script=main.py").out
    for said in ("data/  (data/, .gitignore)", "weights.bin 200.0 MB", "deploy/id_rsa:1:1: looks like a private key"):
        assert said in text
    done = cli(bare, "run", "code.script=main.py")
    assert done.code == 3
    assert "deploy/id_rsa:1:1" in done.err
