"""Faults made on purpose, in small: kills, spoiled files, full disks, lying servers. docs/reliability.md has them in full."""
import contextlib
import errno
import hashlib
import http.server
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import datasets
import pandas
import pytest
import torch
from transformers import TrainerCallback

from lib.engine import assets, keys, reach, records, run, store
from lib.model import folders
from lib.study.journal import Journal
from lib.train import training
from tests.faults import kills
from tests.faults.spoiled import WAYS, spoil
from tests.house import END, build, call, environment, write
from tests.test_training import SETTINGS, made

WORK = ("import time\nimport pandas\nfrom lib.engine import paths\n"
        "for part in range(4):\n"
        "    records.write_frame(paths.run(profile, '{0}') / f'{{part}}.parquet', pandas.DataFrame({{'a': range(2000)}}))\n"
        "    time.sleep(0.2)\n"
        "from lib.engine.statistics import Estimate\n"
        "record.metric('rows', Estimate(sum(range(rows)), 3, 0, 9), 'rows')\n")


def test_killed_runs_end_in_the_metrics_of_an_undisturbed_one_and_leave_nothing(tmp_path):
    house = build(tmp_path / "house")
    write(house, "01_corpus", WORK.format("01_corpus") + END)
    (house / "notebooks/02_tokenizer.ipynb").unlink()  # one chapter does: each start takes seconds
    command = ["lib.engine.run", "all", "--profile", "smoke"]
    expected = kills.undisturbed(kills.Life(house, tmp_path / "whole", command), 120)
    assert [len(rows) for rows in expected.values()] == [1]
    report = kills.torment(lambda turn: kills.Life(house, tmp_path / f"life-{turn}", command), expected, 3, random.Random(16),
                           ["data set", "", "scoring, reading"], longest=8, patience=120)
    assert report["kills"] == report["survived"] == 3 and not report["wrong"], report


class Stop(TrainerCallback):
    """Stops a training as a kill between two steps does."""

    def on_step_end(self, args, state, control, **rest):
        if state.global_step == 7:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, byte_tokenizer, tiny_model):
    """A training that was stopped at step 7, with its key and what it trains on."""
    home = tmp_path_factory.mktemp("stopped")
    start = made(home / "start", byte_tokenizer, tiny_model)
    ids = torch.randint(4, len(byte_tokenizer), (20, 16), generator=torch.Generator().manual_seed(0)).tolist()
    blocks = datasets.Dataset.from_dict({"input_ids": ids, "labels": ids, "bytes": [60] * 20})
    settings = replace(SETTINGS, batch_size=2, checkpoint_steps=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training._Progress, "on_step_end", Stop.on_step_end)
        training.pretrain(home / "run", start, blocks, settings)
    return home / "run", start, blocks, settings


def test_two_checkpoints_are_kept_and_a_spoiled_one_costs_steps_only(stopped, tmp_path, capsys):
    folder, start, blocks, settings = stopped
    kept = sorted((folder / "checkpoints").glob("checkpoint-*"))
    assert [place.name for place in kept] == ["checkpoint-4", "checkpoint-6"]
    files = [file.relative_to(folder) for file in kept[1].iterdir() if file.stat().st_size and file.name != store.SUMS]
    assert {"optimizer.pt", "trainer_state.json", "adapter_model.safetensors"} <= {file.name for file in files}
    key = (folder / "checkpoints/key").read_text()
    for number, (file, way) in enumerate((file, way) for file in files for way in WAYS):
        run = shutil.copytree(folder, tmp_path / str(number))
        spoil(run / file, way)
        training._prepare(run, key, "")
        assert training._checkpoint(run).endswith("checkpoint-4"), (file, way)
        assert f"{file} is not as it was written" in capsys.readouterr().out, (file, way)
    whole = training.pretrain(tmp_path / "whole", start, blocks, settings)
    spoil(shutil.copytree(folder, tmp_path / "again") / "checkpoints/checkpoint-6/optimizer.pt", "torn")
    (tmp_path / "again/checkpoints/checkpoint-6" / store.SUMS).unlink()
    again = training.pretrain(tmp_path / "again", start, blocks, settings)
    told = capsys.readouterr().out
    assert "checkpoint-6 was not written to its end" in told and "goes on from step 4" in told
    assert [row["loss"] for row in again["log"]] == [row["loss"] for row in whole["log"]]
    for name in ("adapter_model.safetensors", "result.json", "tokenizer.json"):
        spoil(tmp_path / "again" / name, "one other byte")
        assert training.pretrain(tmp_path / "again", start, blocks, settings)["log"][-1]["loss"] == whole["log"][-1]["loss"]
        assert f"{name} is not as it was written" in capsys.readouterr().out


@pytest.mark.parametrize("way", WAYS)
def test_a_spoiled_model_is_refused_in_a_sentence(way, tmp_path, byte_tokenizer, tiny_model):
    folder = made(tmp_path / "model", byte_tokenizer, tiny_model)
    for file in sorted(file for file in folder.iterdir() if file.name != store.SUMS):
        content = file.read_bytes()
        spoil(file, way)
        for read in (folders.load, folders.tokenizer):
            with pytest.raises(store.SpoiledError, match=rf"{re.escape(file.name)} is not as it was written.*again"):
                read(folder)
        file.write_bytes(content)
    assert folders.load(folder) and folders.tokenizer(folder)


@pytest.mark.parametrize("way", WAYS)
def test_spoiled_records_frames_and_replies_are_noticed(way, output, tmp_path, capsys):
    place = run.record("smoke", "01_corpus")
    records.write_json(place, {"chapter": "01_corpus", "metrics": [{"value": 3.25}], "measured": {"seconds": 60}}, sealed=True)
    spoil(place, way)
    assert "record.json is not as it was written" in run.why(place, {}, [])[0]
    with pytest.raises(store.SpoiledError, match="record.json is not as it was written .*: make it anew by"):
        records.load("smoke", "01_corpus")
    assert run.minutes("smoke", "01_corpus") != 1  # told from the file of the project instead
    file = tmp_path / "kept.parquet"
    for _ in range(2):
        assert keys.kept(file, "key", lambda: pandas.DataFrame({"a": [1.5, 2.5]}))["a"].tolist() == [1.5, 2.5]
        spoil(file, way)
    assert "kept.parquet is not as it was written" in capsys.readouterr().out
    journal = Journal(tmp_path / "replies.jsonl")
    journal._write({"prompt": "p", "round": 0, "text": "7", "finish": "stop", "error": "", "seconds": 1.0, "tokens": 1})
    assert not Journal(tmp_path / "replies.jsonl").damaged
    spoil(tmp_path / "replies.jsonl", way)
    again = Journal(tmp_path / "replies.jsonl")
    assert not again.replies and again.damaged == (way != "emptied")


def test_what_was_spoiled_is_made_again_by_the_same_command_whatever_the_clock_says(tmp_path):
    house = build(tmp_path / "house")
    write(house, "01_corpus", WORK.format("01_corpus") + "record.fact('now', time.time_ns())\n" + END)
    command = ("lib.engine.run", "all", "--profile", "smoke")
    assert call(house, *command)[0] == 0
    first, second = (house / f"runs/smoke/{chapter}/record.json" for chapter in ("01_corpus", "02_tokenizer"))
    kept = {name: first.with_name(name).read_bytes() for name in ("0.parquet", "1.parquet")}
    spoil(first.with_name("0.parquet"), "one other byte")
    first.with_name("1.parquet").unlink()
    status, printed = call(house, *command)
    assert status == 0 and "2 of 2 chapters" in printed and "because 01_corpus is new" in printed, printed
    assert "because runs/smoke/01_corpus/0.parquet is not as it was written" in printed
    assert {name: first.with_name(name).read_bytes() for name in kept} == kept
    assert "Chapter 02_tokenizer: what it rests on came out as before, so its record is kept." in printed, printed
    os.utime(second, (time.time() - 7200,) * 2)  # as if the clock had gone back before it was written
    assert "Nothing to be done" in call(house, *command)[1]


@pytest.mark.parametrize("reader, new", [("02_tokenizer", False), ("14_paper", True)])
def test_what_is_new_is_told_by_content_and_only_by_what_is_read(output, reader, new):
    first, second = (run.record("smoke", chapter) for chapter in ("01_corpus", reader))
    left = {"chapter": "01_corpus", "key": {"parameter language": "a", "package torch": "b"}, "leaves": {"pairs.parquet": "c"}}
    records.write_json(first, left)
    records.write_json(second, {"chapter": reader, "rests": run.rests("smoke", reader)})
    os.utime(first)
    assert "01_corpus is new" not in run.why(second, {}, [first])
    for other, told in [({"measured": {"seconds": 2}}, new), ({"leaves": {"pairs.parquet": "d"}}, True),
                        ({"key": {"parameter language": "d"}}, True)]:
        records.write_json(first, left | other)
        os.utime(first, (0, 0))
        assert ("01_corpus is new" in run.why(second, {}, [first])) == told, other


def limited(house, kind, size, **more):
    """The command of `make reproduce` under a limit of the system; (exit status, what it printed)."""
    done = subprocess.run([sys.executable, "-m", "lib.engine.run", "01_corpus", "--profile", "smoke"], cwd=house, text=True,
                          env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                          preexec_fn=lambda: resource.setrlimit(kind, (size, size)))
    return done.returncode, done.stdout


def told_in_a_sentence(printed):
    return "Traceback" not in printed and len([line for line in printed.splitlines() if "Error" in line or "could not" in line]) <= 1


def test_without_a_home_on_a_full_disk_and_with_little_memory_there_is_a_result_or_a_sentence(tmp_path):
    house = build(tmp_path / "house")
    write(house, "01_corpus", WORK.format("01_corpus") + END)
    status, printed = limited(house, resource.RLIMIT_FSIZE, 2 ** 30, HOME="/proc", TMPDIR="/proc")
    assert status == 0 and "The home /proc cannot be written" in printed, printed
    before = {file: file.read_bytes() for file in (house / "runs/smoke/01_corpus").glob("*.parquet")}
    status, printed = limited(house, resource.RLIMIT_FSIZE, 6000)
    assert status == 1 and told_in_a_sentence(printed) and "File too large" in printed, printed
    assert before and {file: file.read_bytes() for file in before} == before
    assert not list(house.rglob(f"{store.MAKING}*"))
    write(house, "01_corpus", "much = bytes(2 ** 33)\n" + END)
    status, printed = limited(house, resource.RLIMIT_AS, 2 ** 32)
    assert status == 1 and told_in_a_sentence(printed) and "MemoryError" in printed, printed


class Liar(http.server.BaseHTTPRequestHandler):
    """A server whose answer is what the path is called."""

    def do_GET(self):
        kind, body = self.path.rsplit("/", 1)[1], b"hello" * 1000
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * (2 if kind == "dies" else 1)))
        self.end_headers()
        if kind == "page":
            body = (b"<html>Please log in</html>" * 1000)[:len(body)]
        elif kind == "stalls":
            self.wfile.write(body[:100])
            self.wfile.flush()
            time.sleep(2)
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def liar(tmp_path, monkeypatch):
    """Public files that a lying server has, one a lie, and one that it gives as it is."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = ("dies", "page", "loop", "stalls", "honest")
    sha256 = hashlib.sha256(b"hello" * 1000).hexdigest()
    entry = {"kind": "files", "repository": "owner/repo", "commit": "abc", "licence": "MIT", "files": dict.fromkeys(names, sha256)}
    monkeypatch.setattr(assets, "registry", lambda: {"lies": entry})
    monkeypatch.setattr(reach, "RAW", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(assets.pooch.downloaders, "DEFAULT_TIMEOUT", 1)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "cache/files/owner/repo/abc"
    server.shutdown()
    server.server_close()


def test_servers_that_lie_or_die_are_told_from_honest_ones_and_leave_nothing(liar):
    for lie in ("dies", "page", "loop", "stalls"):
        with pytest.raises(assets.AssetError, match=rf"lies/{lie} (could not be fetched|is damaged or was replaced)"):
            assets.file("lies", lie)
    assert assets.file("lies", "honest").read_bytes() == b"hello" * 1000
    assert [file.name for file in liar.iterdir()] == ["honest"]
    spoil(liar / "honest", "torn")
    assert assets.file("lies", "honest").read_bytes() == b"hello" * 1000


def together(cache, way, queue):
    os.environ["COMPANION_CACHE"] = cache
    assets.registry = lambda: {"tiny": {"kind": "pip", "package": "tiny", "version": "1.0", "licence": "MIT", "sha256": ""}}

    def pack(name, asset, folder):
        shutil.make_archive(str(folder / "tiny"), "zip", way)
        return (folder / "tiny.zip").rename(folder / "tiny.whl"), "1.0"

    assets.PACKAGES["pip"] = pack
    queue.put((assets.fetch("tiny") / "data.txt").read_text())


def test_many_processes_fill_one_cache_at_once(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/data.txt").write_text("whole")
    forked = multiprocessing.get_context("fork")
    queue = forked.Queue()
    arguments = (str(tmp_path / "cache"), str(tmp_path / "source"), queue)
    every = [forked.Process(target=together, args=arguments) for _ in range(4)]
    for one in every:
        one.start()
    assert [queue.get(timeout=60) for _ in every] == ["whole"] * 4
    for one in every:
        one.join()
    assert [place.name for place in (tmp_path / "cache/assets").iterdir()] == ["tiny-1.0"]


def test_an_unfinished_write_leaves_the_old_file_and_a_killed_ones_rest_is_cleared(tmp_path):
    file = records.write_json(tmp_path / "a.json", {"a": 1}, sealed=True)

    def full(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with contextlib.suppress(OSError):
        store.atomically(file, full, sealed=True)
    assert records.read(file) == {"a": 1} and {path.name for path in tmp_path.iterdir()} == {"a.json", store.SUMS}
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (tmp_path / f"{store.MAKING}{store._machine()}.{number}-x" for number in (gone.pid, os.getppid()))
    elsewhere = tmp_path / f"{store.MAKING}another.{gone.pid}-x"
    for path in (dead, alive, elsewhere):
        path.touch()
    with store.scratch(tmp_path):
        assert not dead.exists() and alive.exists() and elsewhere.exists()
    os.utime(elsewhere, (time.time() - 2 * store.ABANDONED,) * 2)
    store.clear(tmp_path)
    assert alive.exists() and not elsewhere.exists()
    assert subprocess.run(["sha256sum", "--check", "--quiet", store.SUMS], cwd=tmp_path).returncode == 0
