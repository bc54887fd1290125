"""Settings of a search: their rungs, their checks, and what tells one run from another."""

import json
from dataclasses import fields, replace

import pytest

from qnas.errors import QnasError
from qnas.quant.scheme import Bits
from qnas.search.limits import Limits
from qnas.search.settings import SearchSettings

USUAL = SearchSettings(Bits(4, 4))


@pytest.mark.parametrize(("steps", "rungs"), [(900, (75, 225, 900)), (12, (1, 3, 12)), (1, (1, 1, 1)), (5, (1, 1, 5))])
def test_a_middle_run_has_a_quarter_and_a_short_one_a_twelfth(steps: int, rungs: tuple[int, int, int]) -> None:
    assert replace(USUAL, steps=steps).rungs == rungs


@pytest.mark.parametrize("option", ["trials", "top", "steps"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_one_is_refused(option: str, value: int) -> None:
    with pytest.raises(QnasError, match=f"--{option} is at least 1, got {value}; leave it out for the default"):
        replace(USUAL, **{option: value})


def test_the_identity_holds_every_setting_as_plain_values() -> None:
    identity = USUAL.identity()
    assert identity.keys() == {item.name for item in fields(SearchSettings)}
    assert json.loads(json.dumps(identity)) == identity
    assert identity["bits"] == "w4a4"


@pytest.mark.parametrize(
    "changed",
    [
        replace(USUAL, bits=Bits(4, 8)),
        replace(USUAL, limits=Limits(macs=5)),
        *(replace(USUAL, **{key: "other"}) for key in ("data", "space", "ghn", "sampler")),
        *(replace(USUAL, **{key: 7}) for key in ("trials", "calibration", "survivors", "top", "steps", "seed")),
    ],
)
def test_any_other_setting_is_another_run(changed: SearchSettings) -> None:
    assert changed.identity() != USUAL.identity()
