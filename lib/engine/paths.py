"""Where things lie: the one place that knows folders.

Three environment variables move them: COMPANION_OUTPUT (runs/ and figures/), COMPANION_CACHE (what was downloaded)
and COMPANION_DATA (a folder of files that is looked at before any download). Empty is as good as unset, ~ is the home,
and a relative one starts where the command was given (`settle`).
"""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
REPORTED = ROOT / "reported"
TASKS = ROOT / "lib" / "tasks"
VARIABLES = ("COMPANION_OUTPUT", "COMPANION_CACHE", "COMPANION_DATA")


class FolderError(ValueError):
    """An environment variable names a folder that cannot be used; one sentence names both and the way out."""


def output() -> Path:
    """Folder that holds `runs/` and `figures/`; the repository itself unless COMPANION_OUTPUT names another."""
    return _folder("COMPANION_OUTPUT") or ROOT


def cache() -> Path:
    """Folder of everything downloaded, shared by all clones of one user."""
    return _folder("COMPANION_CACHE") or Path.home() / ".cache" / "persian-llm-companion"


def data() -> Path | None:
    """Folder `<owner>/<repo>/<commit>/<path>` looked at before a download, or None; FolderError if it is not there."""
    folder = _folder("COMPANION_DATA")
    if folder and not folder.is_dir():
        raise FolderError(f"COMPANION_DATA names {folder}, and there is no such folder: make it, or unset it.")
    return folder


def settle():
    """Writes the variables out in full, so that they mean the same folders in a child, which may run elsewhere.

    Raises FolderError for a COMPANION_DATA that does not exist, and for another variable that names a file.
    """
    for variable in VARIABLES:
        folder = _folder(variable)
        if folder and folder.exists() and not folder.is_dir():
            raise FolderError(f"{variable} names {folder}, which is a file: name a folder, or unset the variable.")
        if folder:
            os.environ[variable] = str(folder)
    data()


def _folder(variable: str) -> Path | None:
    """The folder that an environment variable names, as a whole path; None when it is unset or empty."""
    value = os.environ.get(variable)
    return Path(os.path.expanduser(value)).absolute() if value else None


def named(name: str) -> Path:
    """A file or folder that a parameter names: from the repository when it is relative; ~ is the home."""
    return ROOT / os.path.expanduser(name)


def notebook(chapter: str) -> Path:
    """The chapter's notebook, e.g. `notebooks/02_tokenizer.ipynb`."""
    return NOTEBOOKS / f"{chapter}.ipynb"


def parameters(profile: str, chapter: str) -> Path:
    """The chapter's parameter file in a profile, e.g. `params/smoke/02_tokenizer.yaml`; or the profile's `launch.yaml`."""
    return PARAMS / profile / f"{chapter}.yaml"


def accelerate(name: str) -> Path:
    """A configuration of `accelerate launch`: `params/accelerate/<name>.yaml`, or the path that the name is.

    A path, one with a folder or an ending, is taken from the repository when it is relative.
    """
    plain = Path(name).name == name and not Path(name).suffix
    return PARAMS / "accelerate" / f"{name}.yaml" if plain else named(name)


def runs(profile: str) -> Path:
    """`runs/<profile>/`, which may not be there: a folder for every chapter that has run."""
    return output() / "runs" / profile


def run(profile: str, chapter: str) -> Path:
    """`runs/<profile>/<chapter>/`, made if missing: everything a chapter writes lies here."""
    folder = runs(profile) / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def twins(place: Path) -> list[Path]:
    """A place below `run`, and the same place in every cell of the chapter's sweeps, which are outputs of their own."""
    if not place.is_relative_to(output() / "runs"):
        return [place]
    inner = place.relative_to(output())
    _, profile, chapter, *_ = inner.parts
    return [place, *sorted((runs(profile) / "sweeps" / chapter).glob(f"*/{inner.as_posix()}"))]


def figures(profile: str) -> Path:
    """`figures/<profile>/`, made if missing: figures, tables and `records/` of a profile."""
    folder = output() / "figures" / profile
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shown(path: Path) -> str:
    """A path as a person reads it: inside the repository or the output folder without the folders before."""
    near = [folder for folder in (ROOT, output()) if Path(path).is_relative_to(folder)]
    return Path(path).relative_to(near[-1]).as_posix() if near else str(path)
