"""Makes a notebook that stands alone, as in Colab, a notebook of this clone: its first code cell runs this in the kernel.

What the kernel has stays: packages that are loaded, and those that others are built against, keep their versions. The
standard library has to do, since nothing else is there yet.
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
KEPT = ("numpy", "torch", "pandas")  # others are built against these
# What runs the notebook already, and what only tests and clusters need.
ELSEWHERE = re.compile("ipykernel|ipywidgets|jupyterlab|pytest|ruff|import-linter|fastapi|uvicorn|snakemake-")


def settle():
    """Installs what the kernel lacks and makes the clone its working place; a second time there is nothing to do."""
    present = versions()
    held = loaded(present) | {name: present[name] for name in KEPT if name in present}
    needed = wanted(pins(), present, held)
    if needed:
        print(f"Installing {len(needed)} packages that this kernel lacks, once, a few minutes.", flush=True)
        install(needed, held)
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


def loaded(present: dict[str, str]) -> dict[str, str]:
    """Those of the installed packages that this kernel has imported: to replace them would break it."""
    modules = {name.partition(".")[0] for name in sys.modules}
    names = {_normal(name) for module, packages in importlib.metadata.packages_distributions().items()
             if module in modules for name in packages}
    return {name: version for name, version in present.items() if name in names}


def wanted(pinned: dict[str, str], present: dict[str, str], held: dict[str, str]) -> list[str]:
    """Requirements for pip, a pinned package each that is missing, or not held and of an older series than its pin.

    They leave pip the versions of that series up to the pin, for where the pin does not go with what is held.
    """
    old = {name for name, version in present.items() if name in pinned and _series(version) < _series(pinned[name])}
    return [f"{name}>={'.'.join(map(str, _series(pin)))},<={pin}" for name, pin in pinned.items()
            if name not in present or name in old - held.keys()]


def install(needed: list[str], held: dict[str, str]):
    """Has pip install requirements beside the packages `held`, package → version.

    Where that cannot be, only KEPT is held, and a loaded package that was replaced asks for a restart: RuntimeError,
    as when pip fails.
    """
    if _pip(needed, held).returncode:
        failed = _pip(needed, {name: version for name, version in held.items() if name in KEPT})
        if failed.returncode:
            raise RuntimeError(f"pip could not install what the companion needs: {failed.stderr.strip()}\nWith a network "
                               "the same cell tries again; in a new runtime (Python 3.11 or 3.12) nothing stands in the way.")
    importlib.invalidate_caches()
    present = versions()
    replaced = [name for name, version in held.items() if present.get(name) != version]
    if replaced:
        raise RuntimeError(f"Installed, and {', '.join(replaced)} with it, which this kernel had loaded: restart the session "
                           "(in Colab: Runtime, Restart session) and run this cell again.")


def _pip(needed: list[str], held: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "held.txt"
        constraint.write_text("".join(f"{name}=={version}\n" for name, version in held.items()), encoding="utf8")
        return subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                               "--constraint", constraint, *needed], capture_output=True, text=True)


def _series(version: str) -> list[int]:
    """What a version may not be older in: the major number, and before 1.0 the minor one too."""
    major, minor = (int(number) for number in re.match(r"(\d+)\.?(\d*)", f"{version}.0").groups())
    return [major] if major else [major, minor]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    settle()
