"""The documents: their code runs, their links lead somewhere, the README keeps to the face."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import qnas
from qnas.cli.reference import reference

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


@pytest.mark.slow
def test_the_pages_make_a_site_without_a_warning_and_tell_all_of_the_face(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "-b", "html", ROOT / "docs", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = set(re.findall(r'id="qnas\.(\w+)"', (tmp_path / "api.html").read_text(encoding="utf-8")))
    assert told == set(qnas.__all__)
    assert {page.stem for page in PAGES[3:]} <= {page.stem for page in tmp_path.glob("*.html")}


@pytest.mark.export
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_commands_from_a_winner_to_a_device_run(tmp_path: Path) -> None:
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def printed(*command: str) -> str:
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    start = f'set -e\nqnas() {{ "{sys.executable}" -m qnas "$@"; }}\n'
    in_c, others = (
        printed("bash", "-c", start + block) for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)
    )
    assert "In c: " in in_c
    lines = [line.split() for line in in_c.splitlines()[-2:]]
    assert [len(line) for line in lines] == [11, 11]
    assert all(0 <= int(line[0]) < 10 for line in lines)
    assert re.findall(r"In (\S*): ", others) == ["torch.export", "safetensors"]
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert [printed(sys.executable, "-c", block).split()[0] for block in blocks] == ["torch.Size([3,", "['input',"]


@pytest.mark.slow
def test_the_commands_of_the_how_tos_run(tmp_path: Path) -> None:
    """But for those of a GPU, and of a database where there is none."""
    draw(tmp_path)
    page = (ROOT / "docs/howto.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ {4}\$ (.*)", re.sub(r"\\\n *", "", page), re.M)
    url = os.environ.get("QNAS_TEST_POSTGRES", "")
    typed = [re.sub(r"postgresql:\S+", url, line) for line in lines if "cuda" not in line]
    typed = [line for line in typed if url or "--storage" not in line]
    assert len(typed) >= 8
    start = f'set -ex\nqnas() {{ "{sys.executable}" -m qnas "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-c", start + "\n".join(typed)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^new\.jpg\t(bars|crosses|discs)\t", ended.stdout, re.M)


def draw(folder: Path) -> None:
    """180 small photos of discs, bars and crosses, and one more."""
    rng = np.random.default_rng(0)
    for name in ("bars", "crosses", "discs"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(60):
            width, height = rng.integers(60, 90), rng.integers(75, 120)
            image = Image.fromarray(rng.integers(150, 256, (height, width, 3), np.uint8))
            pen, (x, y, size) = ImageDraw.Draw(image), rng.integers(20, 40, 3)
            colour = tuple(rng.integers(0, 120, 3).tolist())
            if name == "discs":
                pen.ellipse((x, y, x + size, y + size), fill=colour)
            else:
                pen.rectangle((x, y, x + size, y + 8), fill=colour)
            if name == "crosses":
                pen.rectangle((x + size // 2 - 4, y - size // 2, x + size // 2 + 4, y + size // 2 + 8), fill=colour)
            image.save(folder / "photos" / name / f"{number}.jpg")
    shutil.copy(folder / "photos/discs/0.jpg", folder / "new.jpg")


def declared() -> dict[str, set[str]]:
    """Of every command, as the reference calls it, its options."""
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    sections = {part.split("\n")[0]: part for part in page.split("\n## ")[1:]}
    return {
        re.sub(r" \[?[A-Z].*", "", name): set(re.findall(r"--[a-z][\w-]*", part)) for name, part in sections.items()
    }


def test_the_reference_is_what_the_commands_declare() -> None:
    """Else: ``python -m qnas.cli.reference > docs/cli.md``."""
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("page", PAGES[:2] + PAGES[3:], ids=lambda page: page.name)
def test_a_command_that_a_page_shows_can_be_typed(page: Path) -> None:
    """But for the changelog, which tells of earlier times."""
    known = declared()
    text = re.sub(r"\\\n *", "", page.read_text(encoding="utf-8"))
    for line in re.findall(r"(?:^ {4}(?:\$ )?|^\$ |`|&& )(qnas [a-z][^`\n|&;>]*)", text, re.M):
        names = [name for name in known if f"{line} ".startswith(f"{name} ")]
        assert names or line.split()[:2] == ["qnas", "study"], line
        assert set(re.findall(r"(?<=\s)--[a-z][\w-]*", line)) <= {"--help"}.union(*(known[name] for name in names)), (
            line
        )


def test_the_readme_shows_the_face_alone() -> None:
    code = "\n".join(python_blocks(ROOT / "README.md"))
    assert "import qnas\n" in code
    assert re.findall(r"(?:from|import) qnas\.\S+", code) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES[:2] + PAGES[3:], ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    """But for the changelog, which tells of earlier times."""
    names = set(re.findall(r"`(qnas(?:\.\w+)+)`", page.read_text(encoding="utf-8")))
    missing = []
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert missing == []
