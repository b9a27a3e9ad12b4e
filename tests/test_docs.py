"""Documentation that cannot drift: commands run, links lead somewhere, generated pages are what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Cli, write
from tests.recipes import steps

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.slow
def test_readme_commands(cli: Cli, project: Path) -> None:
    write(project, {"docs/hello.py": (ROOT / "docs" / "hello.py").read_text()})
    ran = [step for step in steps(ROOT / "README.md") if not step.path]
    for step in ran:
        done = cli(project, *step.argv[1:])
        assert done.code == 0, f"{step.text}\n{done.err}"
    assert len(ran) >= 8


@pytest.mark.check
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.check
def test_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.check
def test_the_page_of_keys_has_every_key_of_every_group() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    for path in sorted((ROOT / "configs").glob("*/*.yaml")):
        if path.parent.name not in ("experiment", "sweep"):
            keys = [key for key in yaml.safe_load(path.read_text()) if key != "defaults"]
            section = page.partition(f"## {path.parent.name}\n")[2].partition("\n## ")[0]
            described = path.parent.name in ("data", "model", "optimizer")  # any argument of the target
            assert [key for key in keys if f"`{key}`" not in section and not described] == [], path


@pytest.mark.check
def test_decisions_are_short() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert records
    assert [page.name for page in records if len(page.read_text().splitlines()) > 40] == []


@pytest.mark.check
def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60
