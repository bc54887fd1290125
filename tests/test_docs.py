"""The documents: their code runs, their links lead somewhere, the README keeps to the face."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.export
@pytest.mark.parametrize("page", ["README.md", "docs/extending.md"])
def test_the_code_of_a_page_runs_block_after_block(page: str, tmp_path: Path) -> None:
    blocks = python_blocks(ROOT / page)
    assert blocks
    ended = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_readme_shows_the_face_alone() -> None:
    code = "\n".join(python_blocks(ROOT / "README.md"))
    assert "import qnas\n" in code
    assert re.findall(r"(?:from|import) qnas\.\S+", code) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
