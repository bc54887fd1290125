"""A recipe: its file comes back as it was written, and what it cannot mean is refused in a sentence."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.errors import QnasError
from qnas.training.recipe import CHOICES, Recipe, read_recipe

OTHER = Recipe(
    steps=40, batch=16, optimizer="sgd", rate=0.02, schedule="linear", warm_up=0.2, weight_decay=0.0, clip=1.0,
    smoothing=0.2, shift=False, shift_from=3.0, mirror=False, erase=0.3, grid="per-tensor", learned_weights=False,
    descent=0.4, damping=0.01, distillation=0.6, teacher_share=0.5, frozen_share=0.25, averaging=0.9,
    reestimation=4, calibration=3, noise=0.5, precision="float32",
)  # fmt: skip
SHARES = st.floats(0, 1)
POSITIVE = st.floats(1e-12, 1e6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QnasError) as error:
        read_recipe(path)
    return str(error.value)


@given(
    st.builds(
        Recipe,
        steps=st.integers(1, 10**6),
        batch=st.integers(1, 1000),
        optimizer=st.sampled_from(CHOICES["optimizer"]),
        mirror=st.booleans(),
        rate=POSITIVE,
        weight_decay=SHARES,
        clip=POSITIVE,
        frozen_share=SHARES,
        calibration=st.integers(1, 100),
        noise=SHARES,
    )
)
def test_a_recipe_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(path) == recipe


def test_what_a_file_leaves_out_is_as_usual(path: Path) -> None:
    path.write_text("rate = 0.01\nsteps = 40\n", encoding="utf-8")
    assert read_recipe(path) == Recipe(steps=40, rate=0.01)
    path.write_text("", encoding="utf-8")
    assert read_recipe(path) == Recipe()


def test_a_whole_number_serves_where_any_number_does(path: Path) -> None:
    path.write_text("clip = 2\n", encoding="utf-8")
    found = read_recipe(path)
    assert found.clip == 2
    assert type(found.clip) is float
    assert found.digest == Recipe(clip=2.0).digest


@pytest.mark.parametrize(("former", "grid"), [("channel", "per-channel"), ("tensor", "asymmetric")])
def test_a_recipe_of_before_grids_had_names_is_read(path: Path, former: str, grid: str) -> None:
    path.write_text(f'weights = "{former}"\n', encoding="utf-8")
    assert read_recipe(path) == Recipe(grid=grid) == Recipe.from_json({"weights": former})


def test_an_unknown_key_is_refused_with_the_closest_known_one(path: Path) -> None:
    expected = f"Recipe {path}: unknown key 'weight_decya'; did you mean 'weight_decay'?"
    assert refused(path, "weight_decya = 0.1\n") == expected


def test_a_key_like_no_other_is_refused_with_all_there_are(path: Path) -> None:
    message = refused(path, "xyz = 1\n")
    assert message.startswith(f"Recipe {path}: unknown key 'xyz'; choose from: ")
    assert all(item.name in message for item in fields(Recipe))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 2.5", "steps is a whole number, got 2.5; correct it in the file."),
        ("batch = true", "batch is a whole number, got True; correct it in the file."),
        ("rate = '0.1'", "rate is a number, got '0.1'; correct it in the file."),
        ("noise = false", "noise is a number, got False; correct it in the file."),
        ("clip = [1.0]", "clip is a number, got [1.0]; correct it in the file."),
        ("mirror = 1", "mirror is true or false, got 1; correct it in the file."),
        ("optimizer = 1", "optimizer is a word between quotes, got 1; correct it in the file."),
    ],
)
def test_a_value_of_another_type_is_refused(path: Path, text: str, message: str) -> None:
    assert refused(path, text) == f"Recipe {path}: {message}"


OUT_OF_RANGE = [
    ("steps", 0, "`steps` is at least 1, got 0; leave it out for 900."),
    ("batch", -1, "`batch` is at least 1, got -1; leave it out for 64."),
    ("calibration", 0, "`calibration` is at least 1, got 0; leave it out for 8."),
    ("rate", 0.0, "`rate` is a positive number, got 0.0; leave it out for 0.01."),
    ("rate", float("nan"), "`rate` is a positive number, got nan; leave it out for 0.01."),
    ("clip", float("inf"), "`clip` is a positive number, got inf; leave it out for 5.0."),
    ("weight_decay", -0.1, "`weight_decay` lies within 0..1, got -0.1; leave it out for 0.05."),
    ("frozen_share", 1.5, "`frozen_share` lies within 0..1, got 1.5; leave it out for 0.2."),
    ("reestimation", -1, "`reestimation` is at least 0, got -1; leave it out for 0."),
    ("noise", float("nan"), "`noise` lies within 0..1, got nan; leave it out for 0.05."),
]


@pytest.mark.parametrize(("name", "value", "message"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(path: Path, name: str, value: float, message: str) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(QnasError) as error:
        Recipe(**values)
    assert str(error.value) == message
    of_a_file = message.replace("`", "")  # which has keys, where calls have arguments
    assert refused(path, f"{name} = {value}\n") == f"Recipe {path}: {of_a_file}"


@pytest.mark.parametrize("content", [None, b"steps = ", b"\xff\xfe", b"steps = 1\nsteps = 2\n"])
def test_a_file_that_is_no_recipe_is_named(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(QnasError) as error:
        read_recipe(path)
    assert str(error.value).startswith(f"{path} cannot be read as a recipe (")
    assert str(error.value).endswith("; check the path.")


def test_a_recipe_of_another_length_is_the_same_but_for_it() -> None:
    assert OTHER.of(7) == replace(OTHER, steps=7)
    assert OTHER.of(OTHER.steps) == OTHER
    with pytest.raises(QnasError, match="`steps` is at least 1"):
        OTHER.of(0)


def test_the_digest_does_not_depend_on_the_length() -> None:
    assert len({OTHER.of(steps).digest for steps in (1, 40, 900)}) == 1
    assert "steps" not in OTHER.ingredients


def test_the_digest_depends_on_all_else() -> None:
    usual = Recipe()
    changed = [replace(usual, **{name: getattr(OTHER, name)}) for name in usual.ingredients]
    assert len({recipe.digest for recipe in [usual, *changed]}) == len(fields(Recipe))


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_no_choice_is_refused_with_those_there_are(path: Path, name: str) -> None:
    usual, choices = getattr(Recipe, name), " or ".join(CHOICES[name])
    message = f"Recipe {path}: {name} is {choices}, got 'other'; leave it out for {usual}."
    assert refused(path, f'{name} = "other"') == message
