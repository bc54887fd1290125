"""Where shipped data is looked for: inside an installed wheel first, then at the top of a checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qnas.resources
from qnas.data.registry import check_data
from qnas.errors import QnasError
from qnas.resources import cache, shipped


def shipped_from(folder: Path) -> Path:
    """Where a package in ``folder`` looks for its search spaces."""
    package = folder / "qnas"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    shutil.copy(qnas.resources.__file__, package)
    code = "from qnas.resources import shipped; print(shipped('search_spaces'))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    return Path(done.stdout.strip())


def test_a_checkout_keeps_its_data_at_the_top(tmp_path: Path) -> None:
    assert shipped_from(tmp_path) == tmp_path / "search_spaces"


def test_a_wheel_keeps_its_data_inside_the_package(tmp_path: Path) -> None:
    installed = tmp_path / "qnas" / "_data" / "search_spaces"
    installed.mkdir(parents=True)
    assert shipped_from(tmp_path) == installed


def test_the_search_spaces_are_there() -> None:
    assert list(shipped("search_spaces").glob("*.toml"))


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.delenv("QNAS_DATA", raising=False)
    assert cache() is None
    with pytest.raises(QnasError, match="cifar10 is not on this machine"):
        check_data("cifar10")
