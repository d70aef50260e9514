"""What comes from elsewhere stays what it is: weights and text, never code, and never a file outside its folder."""
import io
import json
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import fake_server
import nbformat
import pandas
import pytest

from lib import exhibits
from lib.engine import assets, markup, paths, records, run
from lib.exhibits import base, book, lesson, pages
from lib.model import basecheck, folders
from lib.release import beside, models
from lib.study import teacher
from lib.study.journal import Journal

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(1)">[a](javascript:alert(1)) ![b](http://x/y.png) <!-- \x1b[2J\n\n\r\r# x'
LIVE = re.compile(r"<(script|img|iframe|object|style)\b|\]\((javascript|http://x)", re.I)
KEY = "sk-a-secret-that-nobody-may-read"


def sources():
    """The code of the library and of the notebooks, by file."""
    found = {file: file.read_text("utf8") for file in [*(paths.ROOT / "lib").rglob("*.py"), *(paths.ROOT / "benchmarks").glob("*.py")]}
    return found | {file: "\n".join(cell.source for cell in nbformat.read(file, 4).cells if cell.cell_type == "code")
                    for file in paths.NOTEBOOKS.glob("*.ipynb")}


# Code, by what reads or runs it → where it may stand, and why.
FORBIDDEN = {
    r"\bpickle\.|import pickle|cloudpickle|\bdill\b": {
        "lib/data/files.py",  # rows in a temporary file without a name, which this process wrote
        "lib/train/training.py"},  # a training handed to the processes that are started for it, in the moment before
    r"torch\.load\(|joblib\.load|allow_pickle|read_pickle|marshal": set(),
    r"trust_remote_code(?!\": False|=False)": set(),
    r"weights_only\s*=\s*False|use_safetensors\s*=\s*False|safe_serialization\s*=\s*False": set(),
    r"shell\s*=\s*True|os\.system|(?<![.\w])(eval|exec)\(": set(),
    r"yaml\.(unsafe_load|full_load|Loader|UnsafeLoader|FullLoader)|extractall|tarfile": set(),
    r"verify\s*=\s*False|CERT_NONE": set(),
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_reads_pickles_or_runs_code_from_elsewhere(pattern):
    found = {file.relative_to(paths.ROOT).as_posix() for file, text in sources().items() if re.search(pattern, text)}
    assert found <= FORBIDDEN[pattern]


@pytest.fixture
def model(byte_tokenizer, tiny_model, tmp_path):
    """A folder of a model that brings code, which leaves a mark when it runs."""
    folder = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "model")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\ndef generate(*_, **__): pass\n"
    (folder / "own.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(code)
    return folder


def changed(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("kind", ["llama", "own"])
def test_code_of_a_model_is_never_run(model, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked to run code"))
    changed(model / "config.json", model_type=kind, auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    changed(model / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})
    try:
        basecheck.inspect(str(model), {"en": "The fox."})
    except ValueError as error:
        assert "cannot be a base here" in str(error)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_pickled_weights_are_not_opened(model, tmp_path):
    import torch
    torch.save(Bomb(tmp_path / "ran"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot be a base here: .*model.safetensors"):
        basecheck.inspect(str(model), {"en": "The fox."})
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(model)}))
    torch.save(Bomb(tmp_path / "ran"), adapter / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match="without adapter_model.safetensors"):
        folders.load(adapter)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_resumed_reads_no_pickle():
    """What the trainer itself reads of a checkpoint beside safetensors is tensors and numbers."""
    import inspect

    import transformers
    source = inspect.getsource(transformers.Trainer)
    loads = re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", source)
    assert len(loads) >= 3 and all("weights_only=True" in load for load in loads)


# Archives


def deb(file, members):
    """A Debian package of (name, type, link or content) members."""
    parts = [(b"debian-binary", b"2.0\n"), (b"control.tar", tar([("./control", tarfile.REGTYPE, b"Package: x\nVersion: 1\nArchitecture: all\n"
                                                                 b"Maintainer: x <x@y>\nDescription: x\n")])), (b"data.tar", tar(members))]
    head = b"%-16b0           0     0     100644  %-10d`\n"
    file.write_bytes(b"!<arch>\n" + b"".join(head % (name, len(body)) + body + b"\n" * (len(body) % 2) for name, body in parts))


def tar(members):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, kind, inner in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o644
            entry.size, entry.linkname = (len(inner), "") if kind == tarfile.REGTYPE else (0, inner)
            archive.addfile(entry, io.BytesIO(inner) if kind == tarfile.REGTYPE else None)
    return held.getvalue()


def wheel(file, members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, kind, inner in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if kind == tarfile.SYMTYPE else 0o100644) << 16
            archive.writestr(entry, inner)


EVIL = b"evil"
MEMBERS = {
    "above": [("../outside", tarfile.REGTYPE, EVIL)], "far above": [("./a/../../../outside", tarfile.REGTYPE, EVIL)],
    "absolute": [("{root}/outside", tarfile.REGTYPE, EVIL)],
    "through a link": [("./link", tarfile.SYMTYPE, "{root}"), ("./link/outside", tarfile.REGTYPE, EVIL)],
    "over a link": [("./link", tarfile.SYMTYPE, "{root}/secret"), ("./link", tarfile.REGTYPE, EVIL)],
    "a link": [("./link", tarfile.SYMTYPE, "{root}/secret")], "a link above": [("./link", tarfile.SYMTYPE, "../../secret")],
    "a hard link": [("./link", tarfile.LNKTYPE, "{root}/secret")], "a hard link above": [("./link", tarfile.LNKTYPE, "../../secret")],
    "a pipe": [("./pipe", tarfile.FIFOTYPE, "")], "a device": [("./null", tarfile.CHRTYPE, "")]}


@pytest.mark.parametrize("make, ending", [(wheel, "whl"), (deb, "deb")])
@pytest.mark.parametrize("case", MEMBERS)
def test_an_archive_writes_nothing_outside_its_folder_and_brings_files_alone(make, ending, case, tmp_path):
    if ending == "deb" and not shutil.which("dpkg-deb"):
        pytest.skip("a machine without dpkg-deb has no Debian packages either")
    root = tmp_path / "root"
    root.mkdir()
    (root / "secret").write_text("secret")
    filled = [(name.format(root=root), kind, inner.format(root=root) if isinstance(inner, str) else inner) for name, kind, inner in MEMBERS[case]]
    make(tmp_path / f"x-1-py3-none-any.{ending}", [*filled, ("./good.txt", tarfile.REGTYPE, b"good")])
    folder = root / "unpacked"
    try:
        assets._unpack(tmp_path / f"x-1-py3-none-any.{ending}", folder, ["*"])
    except (assets.AssetError, OSError) as error:  # of which `fetch` makes an AssetError
        assert not isinstance(error, assets.AssetError) or "could not be unpacked" in str(error)
    assert {path.name for path in root.iterdir()} <= {"secret", "unpacked"} and (root / "secret").read_text() == "secret"
    assert (root / "secret").stat().st_nlink == 1 and not (tmp_path / "outside").exists()
    left = [path for path in folder.rglob("*") if not path.is_dir()]
    if not any(kind == tarfile.REGTYPE for _, kind, _ in filled):
        assert all(path.is_file() and not path.is_symlink() for path in left)


def test_every_download_is_pinned_by_its_hash_or_its_drift_is_said(capsys, tmp_path):
    kinds = {}
    for name, entry in assets.registry().items():
        kinds.setdefault(entry["kind"], []).append(name)
        pins = entry["files"].values() if entry["kind"] == "files" else [entry["version"] if entry["kind"] == "hub" else entry["sha256"]]
        assert all(re.fullmatch(r"[0-9a-f]{40}" if entry["kind"] == "hub" else r"[0-9a-f]{64}", pin) for pin in pins), name
    assert set(kinds) <= {"pip", "apt", "files", "hub"}
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(assets.AssetError, match="damaged or was replaced"):
        assets._verify("x", {"version": "1", "sha256": "0" * 64}, tmp_path / "file", "1")
    assets._verify("x", {"version": "1", "sha256": "0" * 64}, tmp_path / "file", "2")
    assert "x: version 2 instead of 1" in capsys.readouterr().out


# Keys


def readable(files):
    """Those of the files that are still there."""
    return [file for file in files if file.exists()]


def test_a_key_is_in_no_file_and_no_process_list(tmp_path, monkeypatch, capsys):
    """A server that repeats the key in replies and errors, asked as chapter 10 does, while processes are listed."""
    monkeypatch.setenv(teacher.KEY, KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    with fake_server.serve() as server:
        asked = teacher.open("m", endpoint=server.url, max_new_tokens=9, temperature=0.0, seed=1, timeout=5.0, retries=0, batch_size=2)
        journal = Journal(tmp_path / "replies.jsonl")
        replies = journal.ask(asked, [[{"role": "user", "content": "repeat the key"}]] * 4 + [[{"role": "user", "content": "hello"}]], 1, "m")
        assert server.keys and set(server.keys) == {f"Bearer {KEY}"}
        listed = "".join(file.read_text("utf8", "replace") for file in readable(Path("/proc").glob("[0-9]*/cmdline")))
    record = records.Record("10_multialpaca", {"profile": "smoke", "endpoint": server.url}, {})
    record.rows("replies", replies)
    record.write()
    said = [*(file.read_text("utf8") for file in tmp_path.rglob("*") if file.is_file()), *capsys.readouterr(), listed, repr(asked), " ".join(sys.argv)]
    assert f"[{teacher.KEY}]" in said[0] + said[1] and not any(KEY in text for text in said)


def test_a_key_comes_from_the_environment_alone():
    """No parameter, command line or notebook has a place for one."""
    names = [name for file in paths.NOTEBOOKS.glob("*.ipynb") for name in exhibits.base.params.defaults(file.stem)]
    assert not [name for name in names if re.search("key|token$|secret|password", name)]
    assert {file.name for file, text in sources().items() if "API_KEY" in text} == {"teacher.py", "10_multialpaca.ipynb"}  # which says so


# What a model writes


def test_what_a_model_writes_stays_text_in_notebooks(monkeypatch):
    frame = pandas.DataFrame({HOSTILE: [HOSTILE, "سلام " * 9 + HOSTILE], "list": [[HOSTILE], None]})
    for shown in (markup.frame(frame), markup.directed(HOSTILE), markup.folded(HOSTILE, ""),
                  lesson.tokens([HOSTILE], below=[HOSTILE])._repr_html_()):
        assert not re.search(r"<(script|img)\b", shown)
    monkeypatch.setattr(models, "speaker", lambda profile, name: name)
    monkeypatch.setattr(models, "answer", lambda *_: HOSTILE)
    shown = beside.talk(HOSTILE).data
    assert not re.search(r"<(script|img)\b", shown) and "\x1b" not in shown


def test_what_a_model_writes_stays_text_in_tables_pages_and_book(output, monkeypatch):
    def hostile(profile):
        return pandas.DataFrame({"said": [HOSTILE], "low": ["[0.1, 0.2]"]}), f"The model says {HOSTILE}"
    one = base.Exhibit("table", "C99-T1", "01_corpus", "Said", (), hostile)
    monkeypatch.setitem(base.TABLES, one.id, one)
    reading = base.save(one.id, "smoke")
    stem = paths.figures("smoke") / one.stem
    page = book.table(stem.with_suffix(".csv"))
    made = pandas.DataFrame([{"kind": "table", "id": one.id, "chapter": one.chapter, "title": one.title, "stem": one.stem, "state": "made",
                              "reading": reading}])
    index = pages.index("smoke", made).read_text("utf8")
    shown = "".join(cell.data for cell in pages.shown("smoke", made))
    markdown, table = page.split("<table", 1)
    assert "\n\n" not in table.partition("</table>")[0]  # all of it is one block of HTML, in which Markdown means nothing
    for text in (stem.with_suffix(".md").read_text("utf8"), markdown, index):
        assert not LIVE.search(text) and "alert(1)" in text
    assert not re.search(r"<(script|img)\b", table) and "alert(1)" in table
    assert not re.search(r"<(script|img)\b", shown) and "[0.1, 0.2]" in page
    assert not re.search(r"<(script|img)\b", exhibits.readings("smoke", "01_corpus")._repr_html_())


def test_what_a_notebook_prints_commands_no_terminal(capsys):
    run._Told("05").write(f"{HOSTILE}\n")
    assert "\x1b" not in capsys.readouterr().out
