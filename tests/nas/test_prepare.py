"""What a run needs before it begins: names that are checked, and the folder that belongs to its settings alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.nas.prepare import Prepared, default_folder, open_prepared, prepare
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.runs.folder import read_run
from qnas.training.recipe import Recipe

SETTINGS = SearchSettings(
    Bits(4, 4),
    Limits(params=12_000, weight_bytes=8_000),
    trials=6,
    survivors=3,
    top=2,
    recipe=Recipe(steps=12),
    seed=3,
)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SETTINGS)


@pytest.fixture
def begun(tmp_path: Path, prepared: Prepared) -> Path:
    """The folder of a run that has begun."""
    open_prepared(prepared, tmp_path / "begun")
    return tmp_path / "begun"


def test_other_settings_are_refused_with_what_differs(begun: Path) -> None:
    before = (begun / "run.json").read_bytes()
    other = prepare(replace(SETTINGS, trials=7, limits=Limits(params=40_000)))
    with pytest.raises(QnasError, match=r"differs .*; give the old settings, or another `out`") as caught:
        open_prepared(other, begun)
    assert "trials: 6 there, 7 now" in str(caught.value)
    assert "limits.params: 12000 there, 40000 now" in str(caught.value)
    assert (begun / "run.json").read_bytes() == before


def test_a_search_that_is_given_time_has_an_outlook_and_others_have_none(prepared: Prepared) -> None:
    timed = prepare(replace(SETTINGS, minutes=5, sampler="expected"))
    assert timed.outlook is not None
    assert timed.identity.keys() - prepared.identity.keys() == {"curves_hash"}
    assert prepared.outlook is None
    with pytest.raises(QnasError, match="`sampler='expected'` goes by time, and none is given; add `minutes=10`"):
        prepare(replace(SETTINGS, sampler="expected"))


def test_the_same_settings_are_accepted(begun: Path, prepared: Prepared) -> None:
    open_prepared(prepared, begun)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path, prepared: Prepared) -> None:
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(QnasError, match=r"holds other files; name another `out`"):
        open_prepared(prepared, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_becomes_a_run_folder(tmp_path: Path, prepared: Prepared) -> None:
    open_prepared(prepared, tmp_path)
    assert read_run(tmp_path)["settings"]["trials"] == 6


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_run_file_is_refused(tmp_path: Path, prepared: Prepared, content: str) -> None:
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        QnasError, match=r"run.json (cannot be read as a run's settings \(.+\)|holds no settings); name the folder of a"
    ):
        open_prepared(prepared, tmp_path)


def test_the_default_folder_is_told_by_the_settings(prepared: Prepared) -> None:
    folder = default_folder(SETTINGS, prepared)
    other = replace(SETTINGS, seed=4)
    assert folder.parent == Path("runs")
    assert folder.name.startswith("digits-w4a4-")
    assert default_folder(SETTINGS, prepared) == folder
    assert default_folder(other, prepare(other)) != folder


def test_a_checkpoint_of_other_classes_serves(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / "mine" / name / f"{number}.png")
    found = prepare(replace(SETTINGS, data=str(tmp_path / "mine")))
    assert (found.data.task.classes, found.checkpoint.task.classes) == (2, 10)


def test_an_impossible_budget_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(QnasError, match=r"keeps `max_params=10`: the smallest needs [\d,]+; raise the budget"):
        prepare(replace(SETTINGS, limits=Limits(params=10)))


def test_a_run_of_a_version_without_recipes_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    settings = {key: value for key, value in prepared.identity.items() if key not in ("recipe", "way")}
    (tmp_path / "run.json").write_text(json.dumps({"qnas": "0.1.0", "settings": settings}), encoding="utf-8")
    with pytest.raises(QnasError, match="is of another version; finish it with that one"):
        open_prepared(prepared, tmp_path)
