"""A plan keeps its shares in every hundred blocks, and is the same however it is read."""
from collections import Counter

import datasets
import numpy
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from lib.data import schedule

DIVISION = {"fa": 0.25, "ar": 0.15, "tr": 0.1, "hi": 0.2, "zh": 0.05, "ru": 0.25}
TWO_STAGES = schedule.named("stepwise", [0.3, 0.6], [0.5], DIVISION)  # PolyLM's curriculum
PLANS = {
    "constant": schedule.constant({"en": 0.55, **{code: 0.45 * share for code, share in DIVISION.items()}}),
    "two stages": TWO_STAGES,
    "three levels": schedule.named("stepwise", [0.1, 0.3, 0.6], [0.3, 0.8], DIVISION),
    "ramp": schedule.named("ramp", [0.3, 0.6], [], DIVISION),
}


def _windows(one, blocks=1000):
    """Planned minus realised number of blocks of every stream in every window of a hundred."""
    order = schedule.plan(one, blocks)
    found = numpy.array([[name == stream for name in one.streams] for stream in order])
    gap = numpy.cumsum(one.shares(blocks).to_numpy() - found, 0)
    gap = numpy.vstack([numpy.zeros(gap.shape[1]), gap])
    return gap[schedule.WINDOW:] - gap[:-schedule.WINDOW]


@pytest.mark.parametrize("name", PLANS)
def test_every_hundred_blocks_keep_their_shares_to_one_percent(name):
    assert abs(_windows(PLANS[name])).max() <= 1 + 1e-6


def test_odd_constant_shares_keep_to_one_percent_too():
    draws = numpy.random.default_rng(0)
    for count in (2, 3, 7, 14):
        shares = draws.dirichlet(numpy.ones(count))
        one = schedule.constant({str(number): share for number, share in enumerate(shares)})
        assert abs(_windows(one, 700)).max() <= 1 + 1e-6, shares


def test_sudden_changes_cost_two_blocks_at_most():
    one = schedule.Schedule([(0, {"a": 0.9, "b": 0.1}), (0.4, {"b": 0.2, "c": 0.8}), (0.7, {"a": 1.0})], joined=False)
    assert abs(_windows(one)).max() < 2


def test_two_stages_go_from_thirty_to_sixty_percent():
    order = schedule.plan(TWO_STAGES, 400)
    halves = [1 - half.count("en") / 200 for half in (order[:200], order[200:])]
    assert halves == pytest.approx([0.3, 0.6], abs=0.005)
    assert Counter(order) == {"en": 220, **{code: round(180 * share) for code, share in DIVISION.items()}}


def test_a_plan_of_the_realised_shares_has_the_same_blocks():
    for blocks in (24, 80, 160):
        counts = Counter(schedule.plan(TWO_STAGES, blocks))
        even = schedule.constant({name: count / blocks for name, count in counts.items()})
        assert Counter(schedule.plan(even, blocks)) == counts


def test_ramp_rises_in_a_straight_line():
    planned = 1 - PLANS["ramp"].shares(10)["en"]
    assert planned.tolist() == pytest.approx([0.3 + 0.3 * (place + 0.5) / 10 for place in range(10)])


def test_temperature_evens_out():
    sizes = {"fa": 900, "hi": 100}
    assert schedule.temperature(sizes, 1) == pytest.approx({"fa": 0.9, "hi": 0.1})
    assert schedule.temperature(sizes, 2) == pytest.approx({"fa": 0.75, "hi": 0.25})
    with pytest.raises(ValueError, match="leave empty streams out"):
        schedule.temperature({"fa": 0}, 1)


@pytest.mark.parametrize("build, message", [
    (lambda: schedule.constant({"en": 0.5}), "add up to 0.500"),
    (lambda: schedule.named("stepwise", [0.3, 0.4, 0.6], [0.8, 0.2], {"fa": 1}), "rise from 0"),
    (lambda: schedule.named("stepwise", [0.3, 0.6], [], {"fa": 1}), "needs 1 levels"),
    (lambda: schedule.named("zigzag", [0.3], [], {"fa": 1}), "choose one of stepwise, ramp")])
def test_wrong_schedules_are_told(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.fixture(scope="module")
def arranged():
    """240 blocks in two stages, `labels` counting the blocks of a stream; the smallest stream has too few of them."""
    order = schedule.plan(TWO_STAGES, 240)
    streams = {name: datasets.Dataset.from_list([{"stream": name, "number": number} for number in
                                                 range(3 if name == "zh" else 150)]) for name in ["en", *DIVISION]}
    return order, schedule.arrange(streams, order)


def test_blocks_lie_in_the_plans_order_and_a_stream_is_read_again(arranged):
    order, rows = arranged
    assert rows[:]["stream"] == order
    for name in DIVISION:
        numbers = [number for stream, number in zip(rows[:]["stream"], rows[:]["number"]) if stream == name]
        assert numbers == [place % (3 if name == "zh" else 150) for place in range(len(numbers))]


def test_reading_again_is_said(capsys):
    streams = {"en": datasets.Dataset.from_list([{"stream": "en"}])}
    schedule.arrange(streams, ["en"] * 3)
    assert "Stream en has 1 blocks and is read 3.0 times" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Streams fa are planned"):
        schedule.arrange(streams, ["fa"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_the_order(arranged, workers):
    order, rows = arranged
    loader = DataLoader(rows, batch_size=8, num_workers=workers)
    assert [name for batch in loader for name in batch["stream"]] == order


def test_processes_share_the_order(arranged):
    """As accelerate divides the Trainer's batches: every second one to a process, so that each step reads on."""
    order, rows = arranged
    batches = BatchSampler(SequentialSampler(rows), 4, drop_last=False)
    sides = [list(BatchSamplerShard(batches, num_processes=2, process_index=rank)) for rank in range(2)]
    read = [place for step in zip(*sides) for batch in step for place in batch]
    assert [rows[place]["stream"] for place in read] == order


def test_a_run_resumes_in_the_middle(arranged):
    order, rows = arranged
    rest = DataLoader(rows, batch_sampler=list(BatchSampler(SequentialSampler(rows), 4, False))[25:])
    assert [name for batch in rest for name in batch["stream"]] == order[100:]


def test_realised_shares_follow_the_planned():
    one = TWO_STAGES
    frame = schedule.realised(schedule.plan(one, 200), one, 50)
    assert abs(frame["planned"] - frame["realised"]).max() <= 2 / 50
    assert frame["blocks"].unique().tolist() == [50, 100, 150, 200]
