"""The settings of a hypernetwork."""

import pytest

from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN


def test_the_defaults_are_those_of_ghn_2() -> None:
    config = GHNConfig()
    assert (config.classes, config.hidden, config.decoder) == (10, 32, (128, 256))
    assert (config.channels, config.kernel) == (64, 11)
    assert (config.sweep, config.rounds) == ("sequential", 1)


def test_steps_are_shared_by_tensors_or_channels() -> None:
    with pytest.raises(QnasError, match="steps of one of tensor, channel, got 'layer'; choose one"):
        GHNConfig(weights="layer")  # type: ignore[arg-type]


def test_a_sweep_that_does_not_exist_is_refused() -> None:
    with pytest.raises(QnasError) as error:
        GHNConfig(sweep="random")
    assert str(error.value) == ("A GHN's sweep is one of sequential, synchronous, got 'random'; choose one of them.")


@pytest.mark.parametrize("size", ["classes", "hidden", "channels", "kernel", "rounds"])
def test_sizes_must_be_positive(size: str) -> None:
    with pytest.raises(QnasError, match=rf"The sizes of a GHN are positive, got GHNConfig\(.*{size}=0.*\); correct"):
        GHNConfig(**{size: 0})  # type: ignore[arg-type]


def test_the_decoders_widths_must_be_positive() -> None:
    with pytest.raises(QnasError, match=r"decoder=\(128, 0\)"):
        GHNConfig(decoder=(128, 0))


def test_a_hypernetwork_shows_its_configuration() -> None:
    config = GHNConfig(classes=3, hidden=8, channels=8, kernel=3, decoder=(4, 4))
    shown = "classes=3, hidden=8, channels=8, kernel=3, decoder=(4, 4), sweep=sequential, rounds=1"
    assert shown in repr(GHN(config))


@pytest.mark.parametrize("hidden", [2, 30])
def test_a_state_that_four_embeddings_cannot_fill_is_refused(hidden: int) -> None:
    with pytest.raises(QnasError):
        GHNConfig(hidden=hidden)
