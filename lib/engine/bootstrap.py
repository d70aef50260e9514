"""Makes a notebook that stands alone, as in Colab, a notebook of this clone: its first code cell runs this in the kernel.

What the kernel has stays, unless it is too old for the companion: others are built against its numpy and torch, and what
it has loaded cannot be replaced under it. The standard library has to do, since nothing else is there yet.
"""
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("numpy", "torch")  # whatever their age
LIGHT = ("packaging", "psutil", "python-dateutil", "typing-extensions")  # whole in memory once loaded: new files do no harm
# What runs the notebook already, and what only tests and clusters need.
ELSEWHERE = re.compile("ipykernel|ipywidgets|jupyterlab|pytest|hypothesis|ruff|import-linter|fastapi|uvicorn|snakemake-")


def settle():
    """Installs what the kernel lacks and makes the clone its working place; a second time there is nothing to do."""
    present = versions()
    needed = wanted(pins(), present)
    if needed:
        print(f"Installing {len(needed)} packages that this kernel lacks, once, a few minutes.", flush=True)
        install(needed, present)
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT)] * (str(ROOT) not in sys.path)
    search = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # for what the notebook starts: trainings, `!python -m`
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, search)]))


def pins() -> dict[str, str]:
    """Package → the version that pyproject.toml pins, of those that a notebook uses."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["dependencies"]
    return {name: version for name, version in (line.split("==") for line in stated) if not ELSEWHERE.match(name)}


def versions() -> dict[str, str]:
    """Package → version of all that is installed."""
    return {_normal(found.name): found.version for found in importlib.metadata.distributions() if found.name}


def wanted(pinned: dict[str, str], present: dict[str, str]) -> dict[str, str]:
    """Package → range for pip, of the pinned ones that are missing or of an older series than their pin.

    It reaches from that series to the pin, for where the pin itself does not go with what is held.
    """
    old = {name for name in pinned.keys() & present if _series(present[name]) < _series(pinned[name])} - {*KEPT}
    return {name: f">={'.'.join(map(str, _series(pin)))},<={pin}" for name, pin in pinned.items()
            if name not in present or name in old}


def loaded(present: dict[str, str]) -> dict[str, str]:
    """Those of the installed packages that this kernel has imported, and that cannot be replaced under it."""
    modules = {name.partition(".")[0] for name in sys.modules}
    names = {_normal(name) for module, packages in importlib.metadata.packages_distributions().items()
             if module in modules for name in packages} - {*LIGHT}
    return {name: version for name, version in present.items() if name in names}


def install(needed: dict[str, str], present: dict[str, str]):
    """Has pip install package → range beside what is present: KEPT is held, and if possible all that is loaded.

    Raises RuntimeError when pip fails, and when a loaded package was replaced, which asks for a restart.
    """
    kept, used = {name: present[name] for name in KEPT if name in present}, loaded(present)
    if _pip(needed, kept | {name: version for name, version in used.items() if name not in needed}).returncode:
        done = _pip(needed, kept)
        if done.returncode:
            raise RuntimeError(f"pip could not install what the companion needs; the same cell tries again. {done.stderr}")
    importlib.invalidate_caches()
    now = versions()
    changed = [name for name, version in used.items() if now.get(name) != version]
    if "pandas" in sys.modules and "pyarrow" not in sys.modules:
        changed.append("pandas")  # which looks for pyarrow once, when it is loaded
    if changed:
        raise RuntimeError(f"All is installed now, but this kernel has loaded {', '.join(changed)} as before: restart the "
                           "session (in Colab: Runtime, Restart session) and run the notebook again.")


def _pip(needed: dict[str, str], held: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "held.txt"
        constraint.write_text("".join(f"{name}=={version}\n" for name, version in held.items()), encoding="utf8")
        return subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                               "--constraint", constraint, *(f"{name}{span}" for name, span in needed.items())],
                              capture_output=True, text=True)


def _series(version: str) -> list[int]:
    """What a version may not be older in: the major number, and before 1.0 the minor one too."""
    major, minor = (int(number) for number in re.match(r"(\d+)\.?(\d*)", f"{version}.0").groups())
    return [major] if major else [major, minor]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    settle()
