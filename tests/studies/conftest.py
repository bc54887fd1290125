"""A made-up study of initializers, in which some of the paper's statements hold and others do not."""

import numpy as np
import pytest

from qnas.network.post_training import LayerRange
from qnas.studies.init_runs import Quantized, Run
from qnas.studies.init_settings import SIMPLE, InitSettings
from qnas.training.plain import Protocol

INITIALIZERS = ("uniform_small", "uniform_large", "glorot_uniform", "he_normal", "he_uniform", "normal_large")


@pytest.fixture(scope="session")
def made_up_settings() -> InitSettings:
    return InitSettings("digits", "", SIMPLE, INITIALIZERS, 3, 4, Protocol(epochs=1, batch=64))


@pytest.fixture(scope="session")
def made_up_runs() -> list[Run]:
    """Each initializer costs as much as its range; batch norm and separable convolutions cost more.

    In float the later an initializer the better. ``normal_large`` diverges without batch norm, and guesses once with.
    """
    rng, runs = np.random.default_rng(0), []
    for seed in range(3):
        for block in SIMPLE:
            for place, name in enumerate(INITIALIZERS):
                if name == "normal_large" and block.endswith("no_bn"):
                    runs.append(Run(block, name, seed, "diverged", None, {}, ()))
                    continue
                fp32 = 80 + place + rng.normal(0, 0.1)
                decrease = 2 + 6 * place + 5 * block.startswith("dws") + 4 * block.endswith("with_bn")
                decrease += rng.normal(0, 0.3)
                scores = {
                    bits: Quantized(fp32 * (1 - times * decrease / 100), times * decrease, decrease / 10, 1 + decrease)
                    for bits, times in (("quint8", 1.0), ("w4a4", 1.5), ("w2a2", 2.0))
                }
                layers = tuple(LayerRange(f"layer{n}", decrease * (n + 1), 0.5, decrease + n) for n in range(5))
                status = "chance" if (name, seed, block) == ("normal_large", 2, "dws_conv_with_bn") else "trained"
                runs.append(Run(block, name, seed, status, fp32, scores, layers))
    return runs
