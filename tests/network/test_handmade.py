"""Hand-made networks held against what is published of them, and trained and deployed like any other."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.deployed import deploy
from qnas.network.handmade import HAND_MADE, HandMade
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.quant.scheme import FP32, Bits
from qnas.task import Task

CIFAR = Task((3, 32, 32), 10)
EVERY = pytest.mark.parametrize("name", HAND_MADE)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("resnet8", 78_000, 12.5e6), ("resnet20", 272_000, 41e6)],
)
def test_their_sizes_are_the_published_ones(name: str, params: int, macs: float) -> None:
    found = costs(build_plan(HandMade(name), CIFAR))
    assert found.params == pytest.approx(params, rel=0.02)
    assert found.macs == pytest.approx(macs, rel=0.02)


@EVERY
@pytest.mark.parametrize("bits", [FP32, Bits(4, 4)], ids=str)
@torch.no_grad()
def test_each_is_deployed_as_it_computes(name: str, bits: Bits) -> None:
    plan, images = build_plan(HandMade(name, 4, bits), Task((1, 12, 12), 3)), torch.randn(8, 1, 12, 12)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0))
    network.calibrate([images])
    network.frozen = True
    assert torch.equal(deploy(network)(images), network.eval()(images))


@EVERY
def test_wider_ones_cost_more(name: str) -> None:
    sizes = [costs(build_plan(HandMade(name, width), CIFAR)).params for width in (4, 8, 16)]
    assert sizes == sorted(sizes)
    assert len({HandMade(name, width).key for width in (4, 8, 16)}) == 3


@given(
    st.sampled_from(sorted(HAND_MADE)),
    st.integers(0, 64),
    st.sampled_from([FP32, Bits(4, 4), Bits(2, 8)]),
    st.sampled_from([0, 8]),
    st.booleans(),
)
def test_they_survive_writing_and_reading(name: str, width: int, bits: Bits, edges: int, batch_norm: bool) -> None:
    made = HandMade(name, width, bits, edges, batch_norm)
    assert HandMade.from_json(made.to_json()) == made
    assert made.with_bits(FP32).bits == FP32


@EVERY
def test_the_edges_of_one_can_be_wider(name: str) -> None:
    narrow = HandMade(name, 8, Bits(2, 4))
    layers = [node for node in build_plan(narrow.with_edges(8), CIFAR).nodes if node.kind in ("conv", "linear")]
    assert [node.bits for node in layers] == [Bits(8, 4), *[Bits(2, 4)] * (len(layers) - 2), Bits(8, 4)]
    assert narrow.with_edges(8).key != narrow.key
    assert build_plan(HandMade(name, 8, FP32, 8), CIFAR) == build_plan(HandMade(name, 8), CIFAR)


@EVERY
def test_without_batch_norms_convolutions_have_biases(name: str) -> None:
    bare = HandMade(name, 8, batch_norm=False)
    plan = build_plan(bare, CIFAR)
    assert not any(node.norm for node in plan.nodes)
    layers = sum(node.kind in ("conv", "linear") for node in plan.nodes)
    assert [slot.kind for slot in plan.slots] == ["weight", "bias"] * layers
    assert bare.key != HandMade(name, 8).key
    assert HandMade.from_json({"network": name, "width": 8, "bits": "fp32"}).batch_norm


def test_keys_of_networks_that_were_there_stay() -> None:
    assert HandMade("resnet8").key == "resnet8-16-fd3ce51d-fp32"
    assert HandMade("ds_cnn", 8, Bits(4, 4), 8).to_json() == {
        "network": "ds_cnn", "width": 8, "bits": "w4a4", "edges": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("regular_conv", 9 * (3 * 4 + 2 * 16 + 4 * 8 + 64 + 8 * 16 + 256)),
        ("dws_conv", 9 * (3 * 4 + 4 + 4 + 4 + 8 + 8 + 16) + (16 + 16 + 32 + 64 + 128 + 256)),
    ],
)
def test_the_paper_s_blocks_have_the_weights_that_their_kind_has(name: str, params: int) -> None:
    """Counted by hand at width 4: stem, two blocks a stage; hidden linear layer, classifier, and a bias a channel."""
    channels = {"regular_conv": 4 + 8 + 16 + 32, "dws_conv": 4 + (4 + 4 + 4 + 4) + (4 + 8 + 8 + 8) + (8 + 16 + 16 + 16)}
    linear = 16 * 16 + 16 + 16 * 10 + 10
    assert costs(build_plan(HandMade(name, 4, batch_norm=False), CIFAR)).params == params + channels[name] + linear


def test_hidden_linear_layers_have_relus_and_are_quantized() -> None:
    plan = build_plan(HandMade("regular_conv", 4, Bits(4, 4)), CIFAR)
    hidden, last = (node for node in plan.nodes if node.kind == "linear")
    assert (hidden.relu, hidden.quantized, hidden.signed, hidden.shape) == (True, True, False, (16, 1, 1))
    assert (last.relu, last.quantized, last.signed, last.shape) == (False, False, True, (10, 1, 1))


def test_what_is_none_is_refused() -> None:
    with pytest.raises(QnasError, match="No hand-made network is called 'resnet9'; did you mean 'resnet8'"):
        HandMade("resnet9")
    with pytest.raises(QnasError, match="`width` is at least 1, or 0 for the usual, got -1"):
        HandMade("resnet8", -1)
    with pytest.raises(QnasError, match="`edges` is 2 to 8 bits, got 9; give 8, or leave it out"):
        HandMade("resnet8", edges=9)
    with pytest.raises(QnasError, match=r"has network, width and bits, got \['network'\]"):
        HandMade.from_json({"network": "resnet8"})
