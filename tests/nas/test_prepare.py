"""What a run needs before it begins: names that are checked, and the folder that belongs to its settings alone."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.nas.prepare import Prepared, default_folder, first_identity, open_prepared, prepare
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.runs.folder import read_run
from qnas.training.jobs import FIRST_RECIPE
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
    assert "'params': 12000" in str(caught.value)
    assert "'params': 40000" in str(caught.value)
    assert (begun / "run.json").read_bytes() == before


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


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / "mine" / name / f"{number}.png")
    with pytest.raises(QnasError, match=r"predicts 10 classes, data set 'mine' has 2; train one with `qnas.fit_ghn"):
        prepare(replace(SETTINGS, data=str(tmp_path / "mine")))


def test_an_impossible_budget_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(QnasError, match=r"keeps `max_params=10`: the smallest needs [\d,]+; raise the budget"):
        prepare(replace(SETTINGS, limits=Limits(params=10)))


def older(folder: Path, prepared: Prepared) -> Path:
    """The folder of the same run as version 0.1.0 began it."""
    folder.mkdir(parents=True)
    settings = json.loads(json.dumps(first_identity(prepared.identity, prepared.space)))
    (folder / "run.json").write_text(json.dumps({"qnas": "0.1.0", "settings": settings}), encoding="utf-8")
    return folder


def test_a_run_that_the_first_version_began_is_continued(tmp_path: Path, prepared: Prepared) -> None:
    assert prepared.identity["recipe"] == FIRST_RECIPE.ingredients
    folder = older(tmp_path / "older", prepared)
    assert "recipe" not in read_run(folder)["settings"]
    open_prepared(prepared, folder)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 4}, "seed"),
        ({"recipe": Recipe(steps=12, batch=32)}, "recipe"),
        ({"recipe": Recipe(steps=13)}, "steps"),
        ({"space": "mobile"}, "space.*space_hash"),
    ],
)
def test_a_run_that_the_first_version_began_is_not_continued_with_others(
    tmp_path: Path, prepared: Prepared, changes: dict[str, object], names: str
) -> None:
    other = prepare(replace(SETTINGS, limits=Limits(), **changes))  # type: ignore[arg-type]
    same = prepare(replace(SETTINGS, limits=Limits()))
    with pytest.raises(QnasError, match=rf"differs \({names}.*\); give the old settings"):
        open_prepared(other, older(tmp_path / "older", same))


def begun_by_the_first_version(prepared: Prepared) -> Path:
    """The folder that it named after the settings, with its run."""
    identity = json.dumps(first_identity(prepared.identity, prepared.space), sort_keys=True)
    digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()[:8]
    folder = Path("runs") / f"digits-w4a4-{digest}"
    older(folder, prepared)
    return folder


def test_the_default_folder_is_the_one_that_the_first_version_began(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    today = default_folder(SETTINGS, prepared)
    before = begun_by_the_first_version(prepared)
    assert default_folder(SETTINGS, prepared) == before != today


def test_another_recipe_does_not_lead_to_the_folder_that_the_first_version_began(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = begun_by_the_first_version(prepared)
    other = replace(SETTINGS, recipe=Recipe(steps=12, rate=0.001))
    assert default_folder(other, prepare(other)) != before
