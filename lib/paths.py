"""Where things lie: the one place that knows folders.

Three environment variables move them: COMPANION_OUTPUT (runs/ and figures/), COMPANION_CACHE (what was downloaded)
and COMPANION_DATA (a folder of files that is looked at before any download).
"""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
REPORTED = ROOT / "reported"
TASKS = ROOT / "lib" / "tasks"


def output() -> Path:
    """Folder that holds `runs/` and `figures/`; the repository itself unless COMPANION_OUTPUT names another."""
    return Path(os.environ.get("COMPANION_OUTPUT") or ROOT)


def cache() -> Path:
    """Folder of everything downloaded, shared by all clones of one user."""
    return Path(os.environ.get("COMPANION_CACHE", Path.home() / ".cache" / "persian-llm-companion"))


def data() -> Path | None:
    """Folder `<owner>/<repo>/<commit>/<path>` looked at before a download, or None."""
    return Path(os.environ["COMPANION_DATA"]) if os.environ.get("COMPANION_DATA") else None


def notebook(chapter: str) -> Path:
    """The chapter's notebook, e.g. `notebooks/02_tokenizer.ipynb`."""
    return NOTEBOOKS / f"{chapter}.ipynb"


def parameters(profile: str, chapter: str) -> Path:
    """The chapter's parameter file in a profile, e.g. `params/smoke/02_tokenizer.yaml`."""
    return PARAMS / profile / f"{chapter}.yaml"


def launch(profile: str) -> Path:
    """Where a profile says how its trainings are launched: `params/<profile>/launch.yaml`, which may be missing."""
    return PARAMS / profile / "launch.yaml"


def accelerate(name: str) -> Path:
    """A configuration of `accelerate launch`: `params/accelerate/<name>.yaml`, or the path that the name is.

    A path, one with a folder or an ending, is taken from the repository when it is relative.
    """
    own = Path(name).expanduser()
    return PARAMS / "accelerate" / f"{name}.yaml" if own.name == name and not own.suffix else ROOT / own


def run(profile: str, chapter: str) -> Path:
    """`runs/<profile>/<chapter>/`, made if missing: everything a chapter writes lies here."""
    folder = output() / "runs" / profile / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def figures(profile: str) -> Path:
    """`figures/<profile>/`, made if missing: figures, tables and `records/` of a profile."""
    folder = output() / "figures" / profile
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shown(path: Path) -> str:
    """A path as a person reads it: inside the repository or the output folder without the folders before."""
    near = [folder for folder in (ROOT, output()) if Path(path).is_relative_to(folder)]
    return Path(path).relative_to(near[-1]).as_posix() if near else str(path)
