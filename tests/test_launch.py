"""Launches: several processes train what one does, and what cannot be launched is told before any work."""
import json
import subprocess
import sys
from dataclasses import replace

import datasets
import pytest
import torch
from accelerate.commands import launch as command
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from lib.engine import chapter, energy, launch, params, paths
from lib.model import folders
from lib.train import spikes, training
from tests.test_training import logits, made

SETTINGS = training.Settings(learning_rate=1e-3, rows_learning_rate=1e-3, batch_size=4, block_length=32, lora_rank=4,
                             lora_alpha=8, checkpoint_steps=2)
TURNS = [("What is it?", "A fox."), ("Say yes.", "yes"), ("Who reads?", "The model reads the text."), ("Say no.", "no"),
         ("And then?", "Open the file, read the lines, write the words, and close the file again."),
         ("Why?", "The reason is in the text."), ("Is it?", "It is.")]
CLOSE = 1e-3  # nats
TWO = "distributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\nmain_process_port: 0\nuse_cpu: true\n"
SHARDS = (paths.PARAMS / "accelerate/fsdp.yaml").read_text(encoding="utf8").split("fsdp_config:")[1]
# Kind, method, embeddings; `taught` in part by the start; `sharded` by FSDP instead of replicated; `stopped` once and continued.
JOBS = ["pretrain full tied", "pretrain lora tied", "pretrain lora untied taught", "pretrain lora tied stopped", "instruct lora untied",
        "instruct lora tied sharded", "pretrain lora untied sharded", "pretrain lora untied sharded stopped"]
# Trains all of them in one pair of processes. Accelerate shards over GPUs alone: it is shown CPUs for some.
MANY = """
import os
import sys
from pathlib import Path
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from lib.train import training

PLAIN = {name: getattr(PartialState, name) for name in ("__init__", "_prepare_backend")}
DISGUISED = {"__init__": lambda self, cpu=False, **rest: PLAIN["__init__"](self, False, **rest),
             "_prepare_backend": lambda self, *rest: ("gloo", DistributedType.MULTI_GPU)}

def stop(self, args, state, control, **rest):
    if state.global_step == 3:
        raise KeyboardInterrupt

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
Accelerator.end_training = lambda self: None  # one group of processes serves all jobs
PartialState(cpu=True)
for place in sorted(Path(sys.argv[1]).glob("*/job")):
    job, more = training.Job.load(place)
    sharded = "sharded" in job.folder.name
    os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
    for name, function in (DISGUISED if sharded else PLAIN).items():
        setattr(PartialState, name, function)
    if "stopped" in job.folder.name:
        kept, training._Progress.on_step_end = training._Progress.on_step_end, stop
        try:
            training.train(job, more["key"], 2, more["accumulation"])
        except KeyboardInterrupt:
            training._Progress.on_step_end = kept
    training.train(job, more["key"], 2, more["accumulation"])
"""


class Collected(Exception):
    """A job was written where it would be launched."""


@pytest.fixture(scope="module")
def starts(tmp_path_factory, byte_tokenizer, tiny_model):
    folder = tmp_path_factory.mktemp("starts")
    return {tied: made(folder / f"tied-{tied}", byte_tokenizer, tiny_model, tied) for tied in (True, False)}


@pytest.fixture(scope="module")
def data(byte_tokenizer):
    """22 blocks and 10 examples: neither makes whole batches of 4."""
    ids = torch.randint(4, len(byte_tokenizer), (22, 32), generator=torch.Generator().manual_seed(0))
    ids[:, ::2] = len(byte_tokenizer) - 1 - ids[:, ::2] % 20  # every block has new tokens
    rows = {"input_ids": ids.tolist(), "labels": ids.tolist(), "bytes": list(range(90, 112)), "stream": ["fa", "en"] * 11}
    examples = [{"prompt": [{"role": "user", "content": question}],
                 "completion": [{"role": "assistant", "content": answer}]} for question, answer in (TURNS * 2)[:10]]
    return {"pretrain": datasets.Dataset.from_dict(rows), "instruct": datasets.Dataset.from_list(examples)}


def run(name, folder, starts, data):
    """Trains what a name says, `<kind> <method> <tied>`, in a folder."""
    kind, method, tied = name.split()[:3]
    settings = replace(SETTINGS, method=method, block_length=32 if kind == "pretrain" else 128,
                       distilled=("en",) * ("taught" in name))
    return getattr(training, kind)(folder / name, starts[tied == "tied"], data[kind], settings, merge=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory, starts, data):
    """Folder and results by name of all jobs in two processes, by one launch."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.yaml").write_text(TWO.replace("MULTI_GPU", "FSDP") + "fsdp_config:" + SHARDS)
    (folder / "whole.yaml").write_text(TWO)
    (folder / "many.py").write_text(MANY)
    real = launch.run

    def collect(*given):
        raise Collected

    def asked(name):
        with launch.using(launch.Launch(folder / ("whole.yaml" if "taught" in name else "two.yaml"))):
            return run(name, folder, starts, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setattr(launch, "run", collect)
        for name in JOBS:
            with pytest.raises(Collected):
                asked(name)
        real(launch.Launch(folder / "two.yaml"), "many", folder)
        return folder, {name: asked(name) for name in JOBS}


@pytest.mark.parametrize("name", [name for name in JOBS if "stopped" not in name])
def test_two_processes_train_what_one_does(name, two, starts, data, tmp_path):
    """The curves and the models are the same but for rounding, the counts exactly."""
    folder, result = two[0] / name, two[1][name]
    with launch.using(launch.Launch(at_once=2)):
        one = run(name, tmp_path, starts, data)
    for row, other in zip(one["log"], result["log"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=CLOSE)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-2)
        exact = ("step", "tokens", "bytes", "learning_rate")
        assert [row[key] for key in exact] == [other[key] for key in exact]
    same = ("key", "tokens", "bytes", "trainable", "total", "parts", "answers_truncated", "eos_labels")
    assert [one.get(key) for key in same] == [result.get(key) for key in same]
    alike(tmp_path / name, folder)
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("name", [name for name in JOBS if "stopped" in name])
def test_a_stopped_and_continued_launch_equals_an_uninterrupted_one(name, two):
    folder, results = two
    names = [name, name.removesuffix(" stopped")]
    curves = [[[row[key] for key in ("step", "tokens", "loss", "grad_norm")] for row in results[name]["log"]]
              for name in names]
    assert curves[0] == curves[1]
    weights = [folders.load(folder / name / "model", torch.float32).state_dict() for name in names]
    assert all(torch.equal(weight, weights[1][key]) for key, weight in weights[0].items())


def alike(*places):
    """Two trainings left the same models, adapted and merged, but for rounding."""
    ids = torch.arange(4, 68).view(2, 32)
    for parts in ((".", "."), ("model", "model")):
        first, second = (logits(folders.load(folder / part, torch.float32), ids) for folder, part in zip(places, parts))
        torch.testing.assert_close(first, second, atol=5e-3, rtol=0)


def test_processes_continue_what_one_process_began(starts, data, tmp_path, monkeypatch, capfd):
    def stop(self, args, state, control, **rest):
        if state.global_step == 3:
            raise KeyboardInterrupt

    (tmp_path / "two.yaml").write_text(TWO)
    name = "pretrain lora untied"
    whole = run(name, tmp_path / "whole", starts, data)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training._Progress, "on_step_end", stop)
        run(name, tmp_path, starts, data)
    with launch.using(launch.Launch(tmp_path / "two.yaml", 2)):
        continued = run(name, tmp_path, starts, data)
    assert f"{name}: goes on from step 2." in capfd.readouterr().out
    assert [row["loss"] for row in continued["log"]] == pytest.approx([row["loss"] for row in whole["log"]], abs=CLOSE)
    assert json.loads((tmp_path / name / "result.json").read_text()) == continued
    assert not (tmp_path / name / "job").exists() and not (tmp_path / name / "checkpoints").exists()
    alike(tmp_path / "whole" / name, tmp_path / name)
    assert run(name, tmp_path, starts, data) == continued and "not repeated" in capfd.readouterr().out


def test_a_process_that_fails_is_told_in_a_sentence(tmp_path, monkeypatch, capfd):
    (tmp_path / "two.yaml").write_text(TWO)
    (tmp_path / "broken.py").write_text("print('it began')\nraise ValueError('Nothing of the answer is trained: so.')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"two failed \(ValueError: Nothing.*: so.\).*same command") as failure:
        launch.run(launch.Launch(tmp_path / "two.yaml"), "broken", tmp_path)
    assert "line 2, in <module>" in str(failure.value) and "it began" in capfd.readouterr().out


def test_processes_end_with_the_one_that_launched_them():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    watch = f"from lib.engine import launch; launch.end_with({gone.pid})"
    assert subprocess.run([sys.executable, "-c", watch], cwd=paths.ROOT).returncode == 1


def test_a_guard_watches_whole_steps(starts, data, tmp_path):
    """The loss and the gradient of all parts of a batch, not of its last one."""
    logs = []
    for at_once, guard in ((0, None), (2, spikes.Rule())):
        with launch.using(launch.Launch(at_once=at_once)):
            settings = replace(SETTINGS, guard=guard)
            logs.append(training.pretrain(tmp_path / f"{at_once}", starts[True], data["pretrain"], settings)["log"])
    for curve, error in (("loss", CLOSE), ("grad_norm", 1e-2)):
        assert [row[curve] for row in logs[1]] == pytest.approx([row[curve] for row in logs[0]], abs=error)


def test_a_job_comes_back_as_it_was(starts, data, tmp_path, byte_tokenizer):
    settings = replace(SETTINGS, guard=spikes.Rule(window=8, on_spike="skip"))
    job = training.Job("instruct", tmp_path / "run", starts[True], data["instruct"], settings, True, byte_tokenizer)
    job.save(tmp_path / "job", key="k")
    read, more = training.Job.load(tmp_path / "job")
    assert read[:3] == job[:3] and read.settings == settings and read.merge and more == {"key": "k"}
    assert read.dataset.to_list() == job.dataset.to_list()
    assert read.tokenizer.chat_template == byte_tokenizer.chat_template and len(read.tokenizer) == len(byte_tokenizer)


def test_checkpoints_of_another_kind_are_not_continued(tmp_path, capsys):
    mark = tmp_path / "run/checkpoints/key"
    for kind in ("", "FSDP", "FSDP", ""):
        training._prepare(tmp_path / "run", "abc", kind)
        (mark.parent / kind).touch()
    assert mark.read_text() == "abc" and sorted(path.name for path in mark.parent.iterdir()) == ["key"]
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and "plain instead of FSDP" in told[0] and "FSDP instead of plain" in told[1]


@pytest.mark.parametrize("settings, at_once, words", [
    ({"batch_size": 5}, 0, "A batch of 5 cannot be shared by 2 processes with all examples at once: .*multiple of 2"),
    ({"batch_size": 6}, 2, "A batch of 6 cannot be shared by 2 processes with 2 examples at once: .*multiple of 4"),
    ({"guard": spikes.Rule()}, 0, "two has 2: train without a guard"),
])
def test_what_processes_cannot_share_is_refused_before_any_work(settings, at_once, words, tmp_path):
    (tmp_path / "two.yaml").write_text(TWO)
    with launch.using(launch.Launch(tmp_path / "two.yaml", at_once)), pytest.raises(ValueError, match=words):
        training.pretrain(tmp_path / "run", tmp_path / "no start", None, replace(SETTINGS, **settings))
    assert not (tmp_path / "run").exists()


def test_parts_in_one_process_have_to_divide_the_batch_too(tmp_path):
    with launch.using(launch.Launch(at_once=3)), pytest.raises(ValueError, match="by 1 processes with 3 examples"):
        training.instruct(tmp_path / "run", tmp_path, None, SETTINGS)


@pytest.mark.parametrize("config, words", [
    ("zero2", "zero2.yaml needs DeepSpeed.*`pip install deepspeed`"),
    ("fsdp", "fsdp.yaml wants 8 GPUs of this machine, which has 0"),
])
def test_what_the_machine_lacks_is_told(config, words, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=words):
        launch.Launch(paths.accelerate(config)).check()
    launch.Launch(at_once=2).check()


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A function that writes `params/own/launch.yaml` and loads it."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    (tmp_path / "params/own").mkdir(parents=True)
    (tmp_path / "params/accelerate").mkdir()
    (tmp_path / "params/accelerate/two.yaml").write_text(TWO)

    def load(text):
        paths.parameters("own", "launch").write_text(text)
        return launch.load("own")
    return load


def test_a_profile_says_how_it_launches(profile, tmp_path):
    assert launch.load("own") == launch.Launch(None, 0) and launch.load("own").describe() == {}
    assert profile("") == launch.Launch() and profile("at_once: 4") == launch.Launch(None, 4)
    found = profile("accelerate: two\nat_once: 4")
    assert found.describe() == {"launch": {"name": "two", "processes": 2, "at_once": 4}}
    for path in ("params/accelerate/two.yaml", tmp_path / "params/accelerate/two.yaml"):
        assert profile(f"accelerate: {path}") == launch.Launch(tmp_path / "params/accelerate/two.yaml")
    assert params.files() == []


@pytest.mark.parametrize("line, words", [
    ("accelerate: tow", "`accelerate` is 'tow'.*no file params/accelerate/tow.yaml; there are: two"),
    ("accelerate: other/two.yaml", "no file other/two.yaml"),
    ("acelerate: two", "unknown key `acelerate`.*a launch.*`accelerate`"),
    ("at_once: -1", "`at_once` is -1.*range"),
    ("at_once: two", "`at_once` is 'two'.*whole number"),
])
def test_a_wrong_line_is_refused_by_name(profile, line, words):
    with pytest.raises(params.ParameterError, match=f"^params/own/launch.yaml: .*{words}"):
        profile(line)


@pytest.mark.parametrize("text, words", [("num_processes: 2", "distributed_type"), (TWO + "procs: 2", "procs"),
                                         (TWO.replace("2", "0"), "`num_processes` is 0"), ("- a", "no configuration")])
def test_what_accelerate_cannot_read_is_refused(profile, text, words):
    (paths.PARAMS / "accelerate/two.yaml").write_text(text)
    with pytest.raises(params.ParameterError, match=words):
        profile("accelerate: two")


def test_a_chapter_settles_and_tells_its_launch(output, monkeypatch, capsys):
    monkeypatch.setattr(launch, "load", lambda profile: launch.Launch(paths.accelerate("fsdp"), 2))
    monkeypatch.setattr(energy, "begin", lambda name: None)
    with launch.using(launch.Launch()):
        record = chapter.begin("13_carbon", params.load("smoke", "13_carbon"))
        assert launch.current() == launch.Launch(paths.accelerate("fsdp"), 2)
    assert record.content["environment"]["launch"] == {"name": "fsdp", "processes": 8, "at_once": 2}
    assert "by fsdp · processes 8 · 2 examples at once" in capsys.readouterr().out
    monkeypatch.undo()
    with launch.using(launch.Launch()):
        assert "launch" not in chapter.begin("13_carbon", params.load("smoke", "13_carbon")).content["environment"]


@pytest.mark.parametrize("name, kind", [("zero2", "DEEPSPEED"), ("fsdp", "FSDP")])
def test_shipped_configurations_are_accelerates_own(name, kind, monkeypatch):
    """Through the launcher's reading of them into the plugin that the processes make of it."""
    file = paths.accelerate(name)
    config = load_config_from_file(str(file))
    assert isinstance(config, ClusterConfig) and (config.distributed_type.value, config.num_processes) == (kind, 8)
    parser = command.launch_command_parser()
    known = set(vars(parser.parse_args(["script"])))
    assert {*config.deepspeed_config, *config.fsdp_config} <= known
    given = parser.parse_args(["--config_file", str(file), "-m", "script"])
    command._validate_launch_command(given)
    given.deepspeed_fields_from_accelerate_config = ""
    environment = prepare_multi_gpu_env(given) if kind == "FSDP" else prepare_deepspeed_cmd_env(given)[1]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    if kind == "FSDP":
        plugin = FullyShardedDataParallelPlugin()
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward and not plugin.cpu_ram_efficient_loading
        assert "transformer" in plugin.auto_wrap_policy.__name__ and "SHARDED" in str(plugin.state_dict_type)
    else:
        plugin = DeepSpeedPlugin()
        settings = plugin.deepspeed_config
        assert settings["zero_optimization"]["stage"] == 2
        assert settings["zero_optimization"]["offload_optimizer"]["device"] == "none"
        assert settings["gradient_accumulation_steps"] == settings["gradient_clipping"] == "auto"


def test_every_shipped_configuration_is_named_above():
    assert {file.stem for file in (paths.PARAMS / "accelerate").glob("*")} == {"zero2", "fsdp"}


def test_the_papers_batches_are_shared_evenly():
    """8 GPUs × 1 example × 8 parts are the parent paper's batch of 64; every chapter's batch divides by the GPUs."""
    found = launch.load("paper")
    assert (found.name, found.processes, found.at_once, found.accumulation(64)) == ("zero2", 8, 1, 8)
    for file in sorted(paths.PARAMS.glob("paper/[0-9]*.yaml")):
        values = params.load("paper", file.stem)
        trained = {"batch_size", "instruction_batch_size"} if {"learning_rate", "lora_rank"} & set(values) else set()
        for key in trained & set(values):
            assert found.accumulation(values[key]) * 8 == values[key], (file.stem, key)
