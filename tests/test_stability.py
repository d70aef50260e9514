"""Spikes are found where they are and nowhere else, met as asked, survive a restart; formats round where they say."""
import json
from dataclasses import replace

import datasets
import numpy
import pandas
import pytest
import torch

from lib import exhibits
from lib.engine import records
from lib.model import folders, formats
from lib.study import ch09_stability as stability
from lib.train import spikes, trainers, training

pytestmark = pytest.mark.usefixtures("fp32")

RULE = spikes.Rule(window=8)
STRANGE = 13  # the step whose batch is like no other
SETTINGS = training.Settings(method="full", learning_rate=1e-2, rows_learning_rate=1e-2, batch_size=2, block_length=32,
                             warmup=0.0, scheduler="constant_with_warmup", checkpoint_steps=4, guard=RULE)


@pytest.fixture
def start(tmp_path, byte_tokenizer, tiny_model):
    return folders.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "start")


@pytest.fixture
def blocks(byte_tokenizer):
    """The same block at all steps but one, whose loss jumps up."""
    generator = torch.Generator().manual_seed(0)
    usual, strange = torch.randint(4, len(byte_tokenizer), (2, 2, 32), generator=generator)
    rows = torch.cat([strange if step == STRANGE else usual for step in range(1, 21)]).tolist()
    return datasets.Dataset.from_dict({"input_ids": rows, "labels": rows, "bytes": [90] * 40, "stream": ["en"] * 40})


def guarded(on_spike):
    return replace(SETTINGS, guard=replace(RULE, on_spike=on_spike))


def falling(steps=200, noise=0.0, seed=0):
    scatter = numpy.random.default_rng(seed).normal(0, noise, steps)
    return (2 + 5 * numpy.exp(-numpy.arange(steps) / 40)) * numpy.exp(scatter)


def _found(curve, rule):
    """Which steps of a whole curve are spikes, each judged by those before it."""
    return numpy.array([spikes.is_spike(curve[:step], value, rule) for step, value in enumerate(curve)])


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_falling_curve_has_no_spike(noise):
    assert sum(_found(falling(noise=noise, seed=seed), spikes.Rule()).sum() for seed in range(10)) == 0


def test_a_flat_curve_with_ripples_has_no_spike():
    assert not _found(3 + 0.001 * (numpy.arange(100) % 7 == 0), spikes.Rule()).any()


@pytest.mark.parametrize("step", [40, 77, 199])
def test_an_inserted_spike_is_found_at_its_step(step):
    curve = falling(noise=0.02)
    curve[step] *= 1.5
    assert numpy.flatnonzero(_found(curve, spikes.Rule())).tolist() == [step]


def test_what_is_not_finite_is_a_spike_and_hides_no_other():
    curve = falling(noise=0.02)
    curve[[3, 90, 95]] = numpy.nan, numpy.inf, curve[95] * 1.5
    assert numpy.flatnonzero(_found(curve, spikes.Rule())).tolist() == [3, 90, 95]


def test_a_curve_that_stays_up_is_a_new_level_after_half_a_window():
    found = numpy.flatnonzero(_found([2.0] * 50 + [4.0] * 50, spikes.Rule(window=20)))
    assert found[0] == 50 and 8 <= len(found) <= 11


@pytest.mark.parametrize("options, message", [({"on_spike": "stop"}, "skip"), ({"window": 1}, "two")])
def test_a_rule_that_cannot_be_followed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        spikes.Rule(**options)


def test_every_step_is_logged_and_the_spike_marked(start, blocks, tmp_path):
    log = training.pretrain(tmp_path / "run", start, blocks, SETTINGS)["log"]
    assert [row["step"] for row in log] == list(range(1, 21))
    assert [row["step"] for row in log if "loss" in row["spike"]] == [STRANGE]
    assert {row["action"] for row in log} == {"none"}


def test_a_guard_that_does_nothing_changes_nothing(start, blocks, tmp_path):
    logs = [training.pretrain(tmp_path / name, start, blocks, settings)["log"]
            for name, settings in (("watched", SETTINGS), ("plain", replace(SETTINGS, guard=None)))]
    assert all(row[name] == other[name] for row, other in zip(*logs) for name in ("loss", "grad_norm", "learning_rate"))


def test_a_skipped_batch_leaves_no_trace(start, blocks, tmp_path):
    """Neither the gradient nor momentum nor weight decay moves a weight: as if the batch were not there."""
    settings = replace(guarded("skip"), weight_decay=0.1)
    log = training.pretrain(tmp_path / "skip", start, blocks, settings)["log"]
    assert [row["step"] for row in log if row["action"] == "skip"] == [STRANGE]
    without = blocks.select([row for row in range(40) if row // 2 != STRANGE - 1])
    training.pretrain(tmp_path / "without", start, without, settings)
    states = [folders.load(tmp_path / name).state_dict() for name in ("skip", "without")]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())


def test_the_rate_is_lowered_once_and_stays_low(start, blocks, tmp_path):
    log = training.pretrain(tmp_path / "run", start, blocks, guarded("lower"))["log"]
    assert [row["step"] for row in log if row["action"] == "lower"] == [STRANGE]
    rates = [row["learning_rate"] for row in log]
    assert rates == pytest.approx([1e-2] * (STRANGE - 1) + [5e-3] * (21 - STRANGE))


@pytest.mark.parametrize("on_spike", ["skip", "lower"])
@pytest.mark.parametrize("stop", [STRANGE - 1, STRANGE + 3])
def test_a_guarded_run_goes_on_to_the_same_end(on_spike, stop, start, blocks, tmp_path, monkeypatch):
    def leave(self, args, state, control, **rest):
        if state.global_step == stop:
            raise KeyboardInterrupt

    whole = training.pretrain(tmp_path / "whole", start, blocks, guarded(on_spike))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training._Progress, "on_step_end", leave)
        training.pretrain(tmp_path / "broken", start, blocks, guarded(on_spike))
    resumed = training.pretrain(tmp_path / "broken", start, blocks, guarded(on_spike))
    timeless = [[{**row, "seconds": 0} for row in result["log"]] for result in (whole, resumed)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("on_spike, lost", [("none", True), ("skip", False), ("lower", False)])
def test_a_loss_that_is_no_number_stays_out_of_the_weights(on_spike, lost, start, blocks, tmp_path, monkeypatch):
    plain, calls = trainers.Pretrainer.compute_loss, []

    def broken(self, *args, **options):
        calls.append(0)
        return plain(self, *args, **options) * (numpy.nan if self.state.global_step == 4 else 1)

    monkeypatch.setattr(trainers.Pretrainer, "compute_loss", broken)
    log = training.pretrain(tmp_path / "run", start, blocks, guarded(on_spike))["log"]
    assert log[4]["loss"] is None and log[4]["grad_norm"] is None and log[4]["spike"] == "loss and grad_norm"
    assert ("skip" in log[4]["action"]) is not lost
    assert [row["loss"] is None for row in log[5:]] == [lost] * 15
    json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)


def streams(model, ids):
    """Formats of the residual stream behind every layer, and the loss."""
    found, hooks = [], []
    for layer in model.model.layers:
        hooks.append(layer.register_forward_hook(lambda module, inputs, output: found.append(output.dtype)))
    value = model(input_ids=ids, labels=ids).loss
    return set(found), value


def test_formats_round_where_they_say(byte_tokenizer, tiny_model):
    ids = torch.randint(4, 300, (8, 64), generator=torch.Generator().manual_seed(1))
    stream, value = {}, {}
    for kind in formats.COMPUTED:
        model = tiny_model(byte_tokenizer, True)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4)  # a stream of some size, whose rounding shows
        stream[kind], value[kind] = streams(formats.compute(model, kind), ids)
        value[kind].backward()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert stream == {"fp32": {torch.float32}, "bf16": {torch.bfloat16}, "bf16-fp32-residual": {torch.float32}}
    error = {kind: abs(float(found.detach() - value["fp32"].detach())) for kind, found in value.items()}
    assert 0 < error["bf16-fp32-residual"] < error["bf16"] < 0.05, error


def test_the_soft_max_computes_in_the_format_of_the_stream(byte_tokenizer, tiny_model, monkeypatch):
    seen, plain = [], torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax",
                        lambda scores, **rest: (seen.append(scores.dtype), plain(scores, **rest))[1])
    for kind in formats.COMPUTED:
        formats.compute(tiny_model(byte_tokenizer, True), kind)(input_ids=torch.arange(9)[None])
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2 + [torch.float32] * 2
    scores = torch.randn(50, 64).bfloat16()
    assert torch.equal(plain(scores, dim=-1), plain(scores, dim=-1, dtype=torch.float32).bfloat16())


def test_products_are_those_of_bf16_hardware():
    layer, x = torch.nn.Linear(64, 32), torch.randn(20, 64)
    native = torch.nn.functional.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    torch.testing.assert_close(formats._product(layer, x), native, rtol=1e-2, atol=1e-2)
    assert formats._product(layer, x).dtype == torch.bfloat16


def test_an_unknown_format_is_refused(byte_tokenizer, tiny_model):
    with pytest.raises(ValueError, match="bf16-fp32-residual"):
        formats.compute(tiny_model(byte_tokenizer, True), "fp8")
    with pytest.raises(ValueError, match="lora"):
        training.Settings(method="lora", precision="bf16")


def test_the_plan_has_every_case_once():
    found = stability.plan([1e-3, 0.5], ["skip"], ["fp32", "bf16"], 1e-3, [0, 1])
    assert [run.name for run in found][::2] == ["0.001 fp32", "0.5 fp32", "0.5 fp32 skip", "0.001 bf16"]
    assert len(found) == 8 and len({run.folder for run in found}) == 8


@pytest.fixture
def record(output, monkeypatch):
    """A chapter of five runs and two seeds: one spikes, one is mended, one is lost to what is no number."""
    found = records.Record("09_curriculum", {"profile": "smoke", "toy_vocabulary": 300}, {})
    plan = stability.plan([1e-3, 0.5], ["skip", "lower"], ["fp32", "bf16", "bf16-fp32-residual"], 1e-3, [0, 1])
    scores = []
    for run in plan:
        stability.note(found, run, {"log": made_up(run)})
        bits = numpy.nan if run.on_spike == "skip" else 20 + 10 * (run.rate > 0.1) + numpy.arange(12) % 5 + run.seed
        scores.append(pandas.DataFrame({"item": range(12), "bits": bits, "bytes": 10, "run": run.name,
                                        "seed": run.seed}))
    stability.compare(found, pandas.concat(scores), plan)
    found.write(seconds=1.0)
    return found


def made_up(run):
    """Forty steps; a high rate spikes at the last."""
    curve = falling(40, 0.01, run.seed) + 0.01 * (run.precision == "bf16")
    log = [{"step": step, "loss": loss, "grad_norm": 1.0, "learning_rate": run.rate, "spike": "", "action": "none"}
           for step, loss in enumerate(curve, 1)]
    if run.rate > 0.1:
        log[-1].update(loss=None if run.on_spike == "skip" else 9.0, spike="loss", action=run.on_spike)
    return log


def test_what_happened_is_in_the_record_and_its_exhibits(record):
    met = records.rows("smoke", "09_curriculum", "spikes")
    assert len(met) == 6 and set(met["action"]) == {"none", "skip", "lower"} and set(met["step"]) == {40}
    drawing, frame, reading = exhibits.FIGURES["P3-F2"].build("smoke")
    assert "1 of 4 runs in fp32 diverge; 4 of 240 losses stand out in those that hold, 2 of 80 losses" in reading
    assert "n = 12" in reading and "against fp32 at rate 0.001 bf16 0.000" in reading
    assert [text.get_text() for text in drawing.axes[3].texts] == ["diverged"]
    assert exhibits.save("P3-F2", "smoke") and frame["value"].notna().sum() == 5


def test_a_gradient_that_stands_out_alone_is_no_spike(output):
    found = records.Record("09_curriculum", {"profile": "smoke", "toy_vocabulary": 300}, {})
    for run in stability.plan([1e-3], [], ["fp32"], 1e-3, [0]):
        log = made_up(run)
        log[-1].update(grad_norm=50.0, spike="grad_norm")
        stability.note(found, run, {"log": log})
        found.metric("stability_bits_per_byte", records.Estimate(2.0, 12, 1.9, 2.1), "bits/byte", run=run.name)
    found.write()
    assert "0 of 40 losses stand out in those that hold" in exhibits.FIGURES["P3-F2"].build("smoke")[2]


def test_the_toy_has_a_small_vocabulary_of_its_own(byte_tokenizer, english, persian, tmp_path):
    small = stability.vocabulary(byte_tokenizer, {"fa": persian}, 300)
    assert len(small) <= 300 and small.eos_token == byte_tokenizer.eos_token
    folder = stability.start(tmp_path / "toy", small, 2, 32, 4, 64, 0)
    assert folders.load(folder).config.vocab_size == len(folders.tokenizer(folder))
    found = stability.blocks({"fa": persian * 5, "en": english * 5}, small, 3, 2, 16, 0)
    assert len(found) == 6 and set(found["stream"]) == {"fa", "en"}
