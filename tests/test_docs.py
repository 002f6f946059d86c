"""The tables of docs/ are those of the code (scripts/docs)."""

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "docs"


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("docs_script", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("docs_script", loader))
    loader.exec_module(module)
    return module


def test_every_table_of_the_docs_is_that_of_the_code(docs: ModuleType) -> None:
    """If one is stale: scripts/docs"""
    assert [path.name for path in docs.stale()] == []


def test_every_table_stands_on_a_page(docs: ModuleType) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in docs.DOCS.glob("*.md"))
    assert {place[2] for place in docs.PLACE.finditer(pages)} == set(docs.TABLES)


def test_a_row_that_is_missing_makes_a_page_stale(docs: ModuleType, tmp_path: Path) -> None:
    text = (docs.DOCS / "verdict.md").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    row = next(i for i, line in enumerate(lines) if line.startswith("| `killed`"))
    page = tmp_path / "verdict.md"
    page.write_text("".join(lines[:row] + lines[row + 1 :]), encoding="utf-8")
    assert docs.stale(tmp_path) == {page: text}
