"""What the pages say is so: examples run, links lead somewhere, the table of options is complete."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from spikeloom.papers.lsnn import sequential_mnist, store_recall

ROOT = Path(__file__).parent.parent
PAPERS = sorted(ROOT.glob("spikeloom/papers/*/README.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results/README.md", *PAPERS])
OPTIONS = (ROOT / "spikeloom/papers/lsnn/README.md").read_text()


def test_the_example_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        scope: dict[str, object] = {}
        exec(block, scope)
        assert "state" in scope


@pytest.mark.parametrize("page", ["blocks-of-your-own", "encoders"])
def test_the_examples_of_a_page_run(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / f"docs/how-to/{page}.md").read_text(), re.DOTALL)
    assert len(blocks) > 3
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_file_named_in_the_tree_of_the_readme_exists() -> None:
    tree = re.search(r"## What is where\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    for line in tree[1].splitlines():
        names = re.match(r"(\s*)((?:[\w.]+(?:/|\.py)\s{1,2})+)", line + "  ")
        assert names is not None, line
        base = ROOT / "spikeloom" if names[1] else ROOT
        for name in names[2].split():
            assert (base / name).exists(), f"the README's tree names {name}"


def test_every_paper_has_a_page() -> None:
    folders = [path.parent for path in ROOT.glob("spikeloom/papers/*/__init__.py")]
    assert sorted(folders) == [page.parent for page in PAPERS]


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.parent.name)
def test_the_page_of_a_paper_names_its_files(page: Path) -> None:
    named = set(re.findall(r"`(\w+\.py)`", page.read_text().split("\n## Files\n")[1].split("\n## ")[0]))
    assert {path.name for path in page.parent.glob("*.py")} - {"__init__.py"} - named == set()


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.parent.name)
def test_paths_named_on_the_page_of_a_paper_exist(page: Path) -> None:
    paths = re.findall(r"`((?:spikeloom|benchmarks|docs|results)/[^` ]+)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_results_folder_stands_in_the_list() -> None:
    folders = {path.name for path in (ROOT / "results").iterdir() if path.is_dir()}
    assert set(re.findall(r"\| \[[^]]+\]\(([^)/]+)\) \|", (ROOT / "results/README.md").read_text())) == folders


@pytest.mark.parametrize("task", [sequential_mnist, store_recall])
def test_every_option_of_a_task_stands_in_the_table(task: Any) -> None:
    name = task.__name__.rpartition(".")[2]
    section = OPTIONS.split(f"## Task `{name}`")[1].split("\n### ")[0]
    known = set(re.findall(r"`([a-z0-9_]+)`", section))
    assert [field.name for field in dataclasses.fields(task.Config) if field.name not in known] == []


def test_every_decision_stands_in_the_list() -> None:
    folder = ROOT / "docs/decisions"
    pages = {page.name for page in folder.glob("[0-9]*.md")}
    assert set(re.findall(r"\]\((\d{4}[^)]*)\)", (folder / "README.md").read_text())) == pages
