"""What a hypernetwork's training refuses."""

from typing import Any

import pytest

from qnas.errors import QnasError
from qnas.training.fit_settings import FitSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "A fit needs a length, got 10.0 minutes and -1 steps; give `minutes` or `steps` above 0."),
        (
            {"minutes": 0.0},
            "A fit needs a length, got 0.0 minutes and 0 steps; give `minutes` or `steps` above 0.",
        ),
        ({"float_share": 1.5}, "`float_share` is a share of the run, 0 to 1, got 1.5; leave it out for 0.0."),
        ({"meta_batch": 0}, "Batches and learning rates must be positive; leave them out for the defaults."),
        ({"rate": 0.0}, "Batches and learning rates must be positive; leave them out for the defaults."),
        ({"quantized_rate": -1.0}, "Batches and learning rates must be positive; leave them out for the defaults."),
        ({"average": 1.0}, "`average` is a decay, 0 to below 1, got 1.0; 0.998 is usual."),
        (
            {"splits": "deeper=1"},
            "`splits` names splits (id, deep, wide, bn_free) with their shares, got 'deeper=1'; "
            "write for example id=0.8,deep=0.2.",
        ),
        ({"closed_head": 1.0}, "`closed_head` is a share of the loss, 0 to below 1, got 1.0; leave it out for 0.0."),
        (
            {"mixed_share": 1.5},
            "`mixed_share` is a share of the networks, 0 to 1, got 1.5; leave it out for 0.15.",
        ),
        (
            {"optimizer": "sgd"},
            "A hypernetwork's optimizer is one of muon, adam, got 'sgd'; leave it out for muon.",
        ),
        ({"noise": "w2"}, "Bit widths are written like w4a8 or fp32, got 'w2'; give for example `bits='w4a4'`."),
        ({"bits": "w4"}, "Bit widths are written like w4a8 or fp32, got 'w4'; give for example `bits='w4a4'`."),
    ],
    ids=[
        "steps",
        "minutes",
        "float share",
        "meta-batch",
        "rate",
        "quantized rate",
        "average",
        "splits",
        "closed head",
        "mixed share",
        "optimizer",
        "noise",
        "bits",
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(QnasError) as error:
        FitSettings(**settings)
    assert str(error.value) == message
