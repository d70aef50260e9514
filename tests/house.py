"""A small house: a checkout of lib/ and the Snakefile with two tiny chapters, for tests of the engine."""
import contextlib
import os
import shutil
import subprocess
import sys

import nbformat
import psutil

from lib.engine import paths

PARAMETERS = 'profile = "laptop"  # profile\nseed = 0  # seed [0..9]\nrows = 3  # rows to count [1..9]\nfile = ""  # a text'
# No chapter.begin: it loads torch, and the engine does not care.
BEGIN = ('from lib import exhibits\nfrom lib.engine import keys, records, run\n\n'
         'values = {{"profile": profile, "seed": seed, "rows": rows, "file": file}}\n'
         'record = records.Record("{0}", values, {{}})\n'
         'record.content |= {{"key": keys.of_chapter("{0}", values), "rests": run.rests(profile, "{0}")}}\n'
         'print("hello from", rows)')
END = "record.write(seconds=0)"
CHAPTERS = ("01_corpus", "02_tokenizer")


def build(root):
    """Makes the house in an empty folder and returns it."""
    shutil.copytree(paths.ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "Snakefile", root)
    (root / "params/smoke").mkdir(parents=True)
    (root / "notebooks").mkdir()
    (root / "params/minutes.yaml").write_text("smoke: {01_corpus: 0.5, 02_tokenizer: 0.5}\n")
    for chapter in CHAPTERS:
        write(root, chapter, END)
        (root / f"params/smoke/{chapter}.yaml").write_text("profile: smoke\n")
    return root


def write(root, chapter, last):
    """Writes a chapter whose last cell is `last`."""
    new = nbformat.v4
    cells = [new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new.new_code_cell(BEGIN.format(chapter)),
             new.new_code_cell(last)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new.new_notebook(cells=cells, metadata=kernel), root / f"notebooks/{chapter}.ipynb")


def environment(**more):
    """This process's environment without what would lead out of the house."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COMPANION_OUTPUT", "PYTHONPATH")}
    return {**kept, **more}


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def call(root, module, *arguments, **more):
    """`python -m <module> <arguments>` in the house; (exit status, what it printed)."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, text=True, env=environment(**more),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    return done.returncode, done.stdout
