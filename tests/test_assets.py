"""The cache of downloads: verified, atomic, offline once filled, and clear when something is missing."""
import errno
import hashlib
import subprocess
import zipfile

import pytest

from lib.engine import assets


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A registry with one wheel, and a pip that copies it; returns the registry entry and the list of pip's calls."""
    file = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny/data.txt", "سلام")
        archive.writestr("tiny/code.py", "")
    entry = {"kind": "pip", "package": "tiny", "version": "1.0", "licence": "MIT", "keep": ["*.txt"],
             "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    calls = []

    def pip(command, folder=None):
        calls.append(command)
        (assets.Path(command[command.index("--dest") + 1]) / file.name).write_bytes(file.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "registry", lambda: {"tiny": entry})
    monkeypatch.setattr(assets, "_run", pip)
    return entry, calls


def _leftovers(tmp_path):
    return [path for path in (tmp_path / "cache" / "assets").iterdir()]


def test_fetched_once_unpacked_and_noted(wheel):
    entry, calls = wheel
    folder = assets.fetch("tiny")
    assert (folder / "tiny/data.txt").read_text(encoding="utf8") == "سلام"
    assert not (folder / "tiny/code.py").exists()
    assert assets.fetch("tiny") == folder and len(calls) == 1
    assert assets.provenance("tiny") == {"version": "1.0", "sha256": entry["sha256"], "licence": "MIT"}


def test_a_spoiled_file_is_fetched_again_and_told(wheel, capsys):
    file = assets.fetch("tiny") / "tiny/data.txt"
    file.write_text("another")
    assert (assets.fetch("tiny") / "tiny/data.txt").read_text(encoding="utf8") == "سلام" and len(wheel[1]) == 2
    assert "data.txt is not as it was written (torn, damaged or replaced): tiny is fetched again." in capsys.readouterr().out


def test_wrong_hash_is_refused_and_leaves_nothing(wheel, tmp_path):
    wheel[0]["sha256"] = "0" * 64
    with pytest.raises(assets.AssetError, match="tiny 1.0 has sha256 .* expects 0000"):
        assets.fetch("tiny")
    assert not _leftovers(tmp_path)


def test_no_network_says_the_way_out(wheel, tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found for tiny\n")
    monkeypatch.setattr(assets, "_run", lambda *_: failed)
    with pytest.raises(assets.AssetError, match=r"tiny==1.0 \(ERROR: No matching.*connect once.*COMPANION_CACHE"):
        assets.fetch("tiny")
    assert not _leftovers(tmp_path)


def test_full_disk_says_the_way_out(wheel, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(assets, "_unpack", full)
    with pytest.raises(assets.AssetError, match="No space left on device; make room"):
        assets.fetch("tiny")


def test_cached_asset_needs_no_tool(wheel, monkeypatch):
    assets.fetch("tiny")
    monkeypatch.setattr(assets, "_run", lambda *_: pytest.fail("a tool was run"))
    assert assets.fetch("tiny").exists()


def _debian(monkeypatch, tmp_path, run):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "registry", lambda: {"doc": {"kind": "apt", "version": "1", "licence": "MIT", "sha256": "0"}})
    monkeypatch.setattr(assets, "_run", run)


def test_package_of_another_distribution_is_told_from_no_network(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 100, "", "E: Unable to locate package doc\n")
    _debian(monkeypatch, tmp_path, lambda *_: failed)
    with pytest.raises(assets.AssetError) as caught:
        assets.fetch("doc")
    assert not isinstance(caught.value, assets.NotOffered)
    (tmp_path / "cache/apt/lists/main_Packages").write_text("")
    with pytest.raises(assets.NotOffered, match="leave the source out"):
        assets.fetch("doc")


def test_newer_debian_version_is_taken_and_told(tmp_path, capsys):
    file = tmp_path / "doc.deb"
    file.write_bytes(b"new")
    assets._verify("doc", {"version": "1", "sha256": "0"}, file, "2")
    assert "version 2 instead of 1" in capsys.readouterr().out


@pytest.fixture
def file_entry(tmp_path, monkeypatch):
    entry = {"kind": "files", "repository": "owner/repo", "commit": "abc", "licence": "MIT",
             "files": {"a/b.txt": hashlib.sha256(b"hello").hexdigest()}}
    monkeypatch.setattr(assets, "registry", lambda: {"file": entry})
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "data"))
    place = tmp_path / "data/owner/repo/abc/a"
    place.mkdir(parents=True)
    return entry, place / "b.txt"


def test_folder_of_the_user_comes_before_any_download(file_entry):
    file_entry[1].write_text("hello")
    assert assets.file("file", "a/b.txt") == file_entry[1]


def test_wrong_file_in_that_folder_is_refused(file_entry):
    file_entry[1].write_text("changed")
    with pytest.raises(assets.AssetError, match="file/a/b.txt abc has sha256"):
        assets.file("file", "a/b.txt")


def test_url_without_network(file_entry, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("Name or service not known")
    monkeypatch.setattr(assets.pooch, "retrieve", offline)
    with pytest.raises(assets.NotAvailable, match="Name or service not known.*COMPANION_DATA"):
        assets.file("file", "a/b.txt")


def test_out_of_reach_nothing_is_asked(file_entry, monkeypatch):
    monkeypatch.setattr(assets.pooch, "retrieve", lambda *_: pytest.fail("a server was asked"))
    monkeypatch.setenv("COMPANION_REACH", "pip")
    assert assets.absent("file") == ["file"] and assets.public() == ["file"]
    with pytest.raises(assets.NotAvailable, match="no server of these is in reach.*COMPANION_DATA"):
        assets.file("file", "a/b.txt")
    file_entry[1].write_text("hello")
    assert assets.absent("file") == []


def test_packages_out_of_reach_say_the_way_out(wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_REACH", "")
    with pytest.raises(assets.AssetError, match="no package index is in reach; connect once"):
        assets.fetch("tiny")
    _debian(monkeypatch, tmp_path, lambda *_: pytest.fail("a tool was run"))
    with pytest.raises(assets.NotOffered, match="no Debian archive is in reach: run on Debian or Ubuntu"):
        assets.fetch("doc")


def test_an_unlisted_file_is_refused(file_entry):
    with pytest.raises(assets.AssetError, match="has no file 'c.txt'; lib/engine/assets.yaml lists: a/b.txt"):
        assets.file("file", "c.txt")


def test_hub_without_network(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("Cannot find the requested files in the disk cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(assets.AssetError, match="The hub model org/name@abc could not be fetched.*hf auth login"):
        assets.hub("org/name@abc")


def test_unknown_name():
    with pytest.raises(assets.AssetError, match="no asset 'nope'; lib/engine/assets.yaml knows: .*hafez"):
        assets.fetch("nope")


def test_every_entry_is_complete():
    """What is downloaded as a file has its hash; what a hub keeps, the full name of its revision."""
    required = {"files": {"files", "title"}, "hub": {"repository", "version"}}
    for name, entry in assets.registry().items():
        assert {"kind", "licence"} | required.get(entry["kind"], {"version", "sha256"}) <= set(entry), name
        assert all(path.count("/") >= 3 for path in entry.get("files", ()) if "repository" not in entry), name
        pins = entry["files"].values() if "files" in entry else [entry.get("sha256", entry["version"])]
        assert all(len(pin) == (40 if entry["kind"] == "hub" else 64) for pin in pins), name
