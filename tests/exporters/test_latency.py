"""The table of layers' times: what is measured once, what is told apart, and how a network's latency is made of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from qnas.exporters.latency import FACTOR, LatencyTable, signature, time_layer, time_network
from qnas.network.build import build_plan
from qnas.network.plan import Builder, Kind, Node, Plan
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.runs.files import append_row, read_rows
from qnas.space.genotype import Genotype
from qnas.task import Task

pytestmark = pytest.mark.export

TASK = Task((3, 8, 8), 4)
W8A8 = Bits(8, 8)


class Timed:
    """A clock by which a layer takes 2 milliseconds and a network 3 for each of its nodes; it keeps what it timed.

    Args:
        factors: of networks, by the bit widths of their first layer, where they take another multiple of their layers.
    """

    def __init__(self, factors: dict[str, float] | None = None) -> None:
        self.layers: list[str] = []
        self.factors = factors or {}

    def layer(self, plan: Plan, node: Node) -> float:
        self.layers.append(signature(plan, node))
        return 2.0

    def network(self, plan: Plan) -> float:
        return 2.0 * (len(plan.nodes) - 1) * self.factors.get(str(plan.nodes[1].bits), 1.5)


class Stopped:
    """A clock that nobody may read."""

    def layer(self, plan: Plan, node: Node) -> float:
        pytest.fail("a layer was timed again")

    def network(self, plan: Plan) -> float:
        pytest.fail("a network was timed again")


def plan_of(genotype: Genotype, bits: Bits = W8A8) -> Plan:
    return build_plan(genotype.with_bits(bits), TASK)


def no_samples() -> Iterable[Plan]:
    pytest.fail("the factor was measured again")


@pytest.fixture
def made_up(genotype: Genotype, tmp_path: Path) -> Callable[..., LatencyTable]:
    """A table whose every layer of the genotype's plan takes a time of its own."""

    def table(factor: float) -> LatencyTable:
        plan = plan_of(genotype)
        append_row(tmp_path / "made_up.jsonl", {"layer": FACTOR, "time": factor})
        for place, name in enumerate(dict.fromkeys(signature(plan, node) for node in plan.nodes[1:])):
            append_row(tmp_path / "made_up.jsonl", {"layer": name, "time": 1.0 + place / 64})
        return LatencyTable(tmp_path / "made_up.jsonl", no_samples)

    return table


def test_a_second_table_on_the_same_file_measures_nothing(genotype: Genotype, tmp_path: Path) -> None:
    plan, path = plan_of(replace(genotype, reduction=genotype.reduction[:1])), tmp_path / "layers.jsonl"
    first = LatencyTable(path, lambda: [plan])
    found = first.latency(plan)
    assert found > 0
    second = LatencyTable(path, no_samples, Stopped())
    assert second.times == first.times
    assert second.latency(plan) == first.latency(plan) == found


def test_each_layer_is_timed_once_and_written_down(genotype: Genotype, tmp_path: Path) -> None:
    plan, path, timed = plan_of(genotype), tmp_path / "layers.jsonl", Timed()
    table = LatencyTable(path, lambda: [plan], timed)
    for _ in range(2):
        table.latency(plan)
    assert sorted(timed.layers) == sorted({signature(plan, node) for node in plan.nodes[1:]})
    assert {row["layer"]: row["time"] for row in read_rows(path)} == table.times
    assert len(read_rows(path)) == len(timed.layers) + 1


def test_unknown_layers_are_timed_when_they_are_met(genotype: Genotype, tmp_path: Path) -> None:
    first, second, timed = plan_of(genotype), plan_of(replace(genotype, stem_kernel=5)), Timed()
    table = LatencyTable(tmp_path / "layers.jsonl", lambda: [first], timed)
    known = len(timed.layers)
    table.latency(second)
    assert timed.layers[known:] == [signature(second, second.nodes[1])]


def test_a_table_sees_what_another_has_timed_since(genotype: Genotype, tmp_path: Path) -> None:
    first, second, timed = plan_of(genotype), plan_of(genotype, Bits(4, 4)), Timed()
    tables = [LatencyTable(tmp_path / "layers.jsonl", lambda: [first], timed) for _ in range(2)]
    expected = tables[0].latency(second)
    known = len(timed.layers)
    assert tables[1].latency(second) == expected
    assert len(timed.layers) == known


def test_the_latency_is_the_factor_times_the_sum_of_layers(
    genotype: Genotype, made_up: Callable[..., LatencyTable]
) -> None:
    table, plan = made_up(1.5), plan_of(genotype)
    expected = 1.5 * sum(table.times[signature(plan, node)] for node in plan.nodes[1:])
    assert expected > 1.5 * (len(plan.nodes) - 1)
    assert table.latency(plan) == pytest.approx(expected, abs=1e-6)


def test_the_factor_is_the_median_of_whole_networks_to_their_sums(genotype: Genotype, tmp_path: Path) -> None:
    plans = [plan_of(genotype, bits) for bits in PAPER_BITS[:3]]
    whole = {str(plan.nodes[1].bits): factor for plan, factor in zip(plans, (0.5, 4.0, 0.75), strict=True)}
    table = LatencyTable(tmp_path / "layers.jsonl", lambda: plans, Timed(whole))
    assert table.times[FACTOR] == pytest.approx(0.75)
    assert table.latency(plans[0]) == pytest.approx(0.75 * 2 * (len(plans[0].nodes) - 1))


def conv(channels: int = 8, side: int = 8, bits: Bits = W8A8, before: Bits = W8A8, **sizes: Any) -> str:
    """The signature of a convolution that another one feeds."""
    plan, node = conv_plan(channels, side, bits, before, **sizes)
    return signature(plan, node)


def conv_plan(
    channels: int, side: int, bits: Bits = W8A8, before: Bits = W8A8, name: str = "conv", **sizes: Any
) -> tuple[Plan, Node]:
    builder = Builder(Task((3, side, side), 4), True, before)
    source = builder.conv("stem", 0, channels, 1)
    builder.bits = bits
    place = builder.conv(name, source, sizes.pop("made", channels), sizes.pop("kernel", 3), **sizes)
    return Plan(tuple(builder.nodes), tuple(builder.slots), 4), builder.nodes[place]


OTHERS: dict[str, dict[str, Any]] = {
    "channels": {"channels": 16},
    "channels made": {"made": 16},
    "side": {"side": 16},
    "kernel": {"kernel": 5},
    "stride": {"stride": 2},
    "dilation": {"dilation": 2},
    "groups": {"groups": 8},
    "weight bits": {"bits": Bits(4, 8)},
    "activation bits": {"bits": Bits(8, 4)},
    "bits of what it reads": {"before": Bits(8, 4)},
    "float": {"bits": FP32, "before": FP32},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_layers_that_differ_have_signatures_that_differ(change: dict[str, Any]) -> None:
    assert conv(**change) != conv()


@pytest.mark.parametrize("change", [{"name": "other"}, {"before": Bits(2, 8)}], ids=["name", "weights before"])
def test_layers_that_take_equal_time_have_one_signature(change: dict[str, Any]) -> None:
    assert conv(**change) == conv()


def test_kinds_and_counts_of_inputs_are_told_apart() -> None:
    builder = Builder(TASK, True, Bits(8, 8))
    left, right = (builder.conv(name, 0, 8, 1) for name in ("left", "right"))
    places = [
        builder.pool("max", "max_pool", left, 3, 1),
        builder.pool("avg", "avg_pool", left, 3, 1),
        builder.sum("sum", left, right),
        builder.concat("two", [left, right]),
        builder.concat("three", [left, right, left]),
    ]
    plan = Plan(tuple(builder.nodes), tuple(builder.slots), 4)
    assert len({signature(plan, plan.nodes[place]) for place in places}) == len(places)
    assert signature(plan, plan.nodes[left]) == signature(plan, plan.nodes[right])


def test_equal_layers_of_two_networks_have_one_signature(genotype: Genotype) -> None:
    plans = [plan_of(one) for one in (genotype, replace(genotype, stem_kernel=5))]
    first, second = ([signature(plan, node) for node in plan.nodes[1:]] for plan in plans)
    assert first[0] != second[0]
    assert first[1:] == second[1:]


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_every_kind_of_node_can_be_timed(genotype: Genotype, bits: Bits) -> None:
    plan = plan_of(genotype, bits)
    different = {signature(plan, node): node for node in plan.nodes[1:]}
    times = {name: time_layer(plan, node) for name, node in different.items()}
    assert {name.split()[0] for name in times} == set(get_args(Kind)) - {"input"}
    assert all(value >= 0 for value in times.values())
    assert 0 < sum(times.values()) < 100


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_a_much_larger_convolution_takes_longer(bits: Bits) -> None:
    small, large = (time_layer(*conv_plan(channels, 32, bits, bits)) for channels in (4, 96))
    assert large > small


def test_a_whole_network_of_mixed_widths_can_be_timed(genotype: Genotype) -> None:
    first, second = ((Bits(4, 4), Bits(2, 2)), (Bits(8, 8), Bits(4, 8)))
    cell = tuple((left._replace(bits=first), right._replace(bits=second)) for left, right in genotype.reduction)
    mixed = replace(genotype, reduction=cell, layer_bits=(Bits(8, 8), Bits(4, 4), Bits(2, 2), Bits(4, 8)))
    plan = build_plan(mixed, TASK)
    assert {node.bits for node in plan.nodes} >= {Bits(2, 2), Bits(4, 4), Bits(4, 8), Bits(8, 8)}
    assert time_network(plan) > 0
    assert all(time_layer(plan, node) >= 0 for node in plan.nodes[1:])
