"""The scripts in examples/ run as their first lines say, and are short and use nothing but the package's face."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qnas

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
NOTEBOOK = ROOT / "examples" / "fashion_mnist.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES} | {
    f"README {place}": text for place, text in enumerate(README, 1)
}
TEXTS[NOTEBOOK.name] = "\n".join("".join(cell["source"]) for cell in CELLS)
ALLOWED = {"qnas", "torch", "numpy", "matplotlib", *sys.stdlib_module_names}


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def imported(text: str) -> list[str]:
    """The dotted names that a script imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_there_are_examples_and_the_readme_shows_python() -> None:
    assert {path.name for path in EXAMPLES} >= {"predict_parameters.py", "search_and_use.py", "train_and_export.py"}
    assert README


@pytest.mark.parametrize("name", TEXTS)
def test_what_users_copy_imports_nothing_of_qnas_but_the_package_itself(name: str) -> None:
    names = imported(TEXTS[name])
    assert "qnas" in names
    assert {one.split(".")[0] for one in names} <= ALLOWED
    assert [one for one in names if one.startswith("qnas.")] == []


@pytest.mark.parametrize("name", TEXTS)
def test_what_users_copy_takes_of_the_package_only_what_it_offers(name: str) -> None:
    taken = {
        node.attr
        for node in ast.walk(ast.parse(TEXTS[name]))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "qnas"
    }
    assert taken <= set(qnas.__all__)


@pytest.mark.parametrize("name", TEXTS)
def test_what_users_copy_is_shorter_than_forty_lines(name: str) -> None:
    assert len(TEXTS[name].splitlines()) < 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_in_one_line_how_to_run_it(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(TEXTS[path.name]))
    assert doc is not None
    assert len(doc.splitlines()) == 1
    assert f"python examples/{path.name}" in doc


def test_predict_parameters_scores_every_setting_of_the_paper() -> None:
    lines = run("predict_parameters.py").splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["fp32", "w8a8", "w4a8", "w4a4", "w2a2"]


@pytest.mark.export
def test_train_and_export_writes_a_model_that_agrees(tmp_path: Path) -> None:
    printed = run("train_and_export.py", str(tmp_path / "out")).splitlines()[-1]
    in_torch, in_onnxruntime = (float(part.split(" %")[0].split()[-1]) for part in printed.split("right in torch,"))
    assert abs(in_torch - in_onnxruntime) <= 0.5
    assert (tmp_path / "out" / "model.onnx").is_file()


@pytest.mark.export
def test_search_and_use_finds_a_network_that_reads_an_image_and_can_be_tuned(tmp_path: Path) -> None:
    first = run("search_and_use.py", str(tmp_path)).splitlines()
    rows = [line for line in first if " parameters, predicted " in line]
    assert len(rows) == 12
    assert all(int(row.split(":")[1].split()[0].replace(",", "")) <= 20_000 for row in rows)
    assert [row.split()[-1] for row in rows] == ["1", "2", *["-"] * 10]
    assert first[-2] == "The image shows a 4"
    before, after = ((tmp_path / name / "network.safetensors").read_bytes() for name in ("run/winner", "tuned"))
    assert before != after
    assert run("search_and_use.py", str(tmp_path)).splitlines() == first


@pytest.mark.slow
def test_the_notebook_runs_top_to_bottom(tmp_path: Path) -> None:
    text = TEXTS[NOTEBOOK.name]
    assert "minutes=3" in text
    short = text.replace("minutes=3", "trials=4, steps=4, top=1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", short]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "model.c" in told.stdout.splitlines()[-1]


def test_the_notebook_is_committed_without_output() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)
