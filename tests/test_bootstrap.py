"""A notebook on its own, as in Colab, fetches the companion, installs what lacks, and keeps the kernel's packages."""
import json
import os
import shutil
import subprocess
import sys
import types

import pytest

from lib.engine import bootstrap, keys, paths, repository

CELL = next(source for source, tags in keys.cells(paths.notebook("02_tokenizer")) if "bootstrap" in tags)
PINS = {"numpy": "2.4.6", "torch": "2.13.0", "pandas": "3.1.1", "peft": "0.21.2", "trl": "1.16.0", "tqdm": "4.70.1"}
# pip as it is called: notes what it was told, and lays out a distribution for each requirement.
PIP = '''import json, pathlib, re, sys
site, told = pathlib.Path(__file__).parents[1], sys.argv[1:]
held = pathlib.Path(told[told.index("--constraint") + 1]).read_text().split()
names = [argument for argument in told if ">=" in argument]
site.joinpath("told.jsonl").open("a").write(json.dumps([names, held]) + "\\n")
for name in names:
    name, version = re.fullmatch("(.+)>=.*<=(.+)", name).groups()
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
'''
# Two runs of the cell in one kernel.
KERNEL = f'cell = {CELL!r}\nexec(cell)\nexec(cell)\nimport json, os, lib\nprint(json.dumps([os.getcwd(), lib.__file__]))'


@pytest.fixture
def alone(tmp_path):
    """A function that runs the first cell, twice, in a new Python without site-packages in an empty folder.

    It clones a small companion; numpy and torch are there in versions of their own. Returns the working directory and the
    file of lib afterwards, what pip was told, and all that was printed.
    """
    origin, site, folder = tmp_path / "origin", tmp_path / "site", tmp_path / "folder"
    (origin / "lib/engine").mkdir(parents=True)
    (origin / "lib/__init__.py").touch()
    shutil.copy(bootstrap.__file__, origin / "lib/engine")
    pins = ", ".join(f'"{name}=={version}"' for name, version in {**PINS, "jupyterlab": "4.6.6"}.items())
    (origin / "pyproject.toml").write_text(f"[project]\ndependencies = [{pins}]\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init"], ["add", "."], [*identity, "commit", "-m", "a"]):
        subprocess.run(["git", *command], cwd=origin, check=True, capture_output=True)
    for package, version in (("numpy", "2.0.2"), ("torch", "2.9.0+cu126"), ("tqdm", "4.67.1")):
        (site / f"{package}.dist-info").mkdir(parents=True)
        (site / f"{package}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (site / "pip").mkdir()
    (site / "pip/__init__.py").touch()
    (site / "pip/__main__.py").write_text(PIP)
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMPANION", "PYTHON", "GIT"))}
    env = kept | {"PYTHONPATH": str(site), "PIP_DRY_RUN": "1", "GIT_CONFIG_COUNT": "1",
                  "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": repository.url()}

    def run():
        done = subprocess.run([sys.executable, "-S", "-c", KERNEL], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in (site / "told.jsonl").read_text().splitlines()]
        return *json.loads(done.stdout.splitlines()[-1]), told, done.stdout
    return run


def test_alone_it_clones_installs_what_lacks_and_works_in_the_clone(alone, tmp_path):
    clone = tmp_path / "folder/companion"
    for _ in range(2):  # the second time after a restart of the kernel
        place, module, told, printed = alone()
        assert place == str(clone) and module == str(clone / "lib/__init__.py")
        assert told == [[["pandas>=3,<=3.1.1", "peft>=0.21,<=0.21.2", "trl>=1,<=1.16.0"],
                         ["numpy==2.0.2", "torch==2.9.0+cu126"]]]
    assert "Installing" not in printed and "Cloning" not in printed


@pytest.mark.parametrize("place", [".", "notebooks"])
def test_in_a_clone_it_does_nothing(place, monkeypatch):
    monkeypatch.chdir(paths.ROOT / place)
    monkeypatch.setattr("subprocess.getoutput", None)
    monkeypatch.setattr("runpy.run_path", None)
    exec(CELL, {})


def test_numpy_and_torch_stay_and_only_what_lacks_or_is_of_an_older_series_is_asked_for():
    present = {"numpy": "1.26.4", "torch": "1.13.0", "pandas": "2.2.2", "peft": "0.17.0", "trl": "1.2.0", "tqdm": "5.0"}
    assert bootstrap.wanted(PINS, present) == {"pandas": ">=3,<=3.1.1", "peft": ">=0.21,<=0.21.2"}
    assert bootstrap.wanted(PINS, PINS) == {}
    pins = bootstrap.pins().keys()
    assert {"numpy", "torch", "transformers"} < pins and not {"ipykernel", "ruff"} & pins


@pytest.fixture
def installed(monkeypatch):
    """A function that installs trl where matplotlib and pandas 2 are loaded, and pip fails as often as it is told and
    gives `after`; returns what pip was told to hold."""
    def install(after, failures=0):
        told = []
        before = {"numpy": "2.0.2", "matplotlib": "3.10.0", "pandas": "2.2.2"}
        monkeypatch.setattr(bootstrap, "loaded", lambda present: {"matplotlib": "3.10.0", "pandas": "2.2.2"})
        monkeypatch.setattr(bootstrap, "versions", lambda: before | after)
        monkeypatch.setattr(bootstrap, "_pip", lambda needed, held: told.append(held) or types.SimpleNamespace(
            returncode=len(told) <= failures, stderr="no network"))
        bootstrap.install({"trl": ">=1,<=1.16.0"}, before)
        return told
    return install


def test_what_the_kernel_has_loaded_is_held_if_that_can_be_and_numpy_always(installed):
    assert installed({}) == [{"numpy": "2.0.2", "matplotlib": "3.10.0", "pandas": "2.2.2"}]
    assert installed({}, failures=1) == [{"numpy": "2.0.2", "matplotlib": "3.10.0", "pandas": "2.2.2"}, {"numpy": "2.0.2"}]


def test_a_loaded_package_that_was_replaced_asks_for_a_restart_and_a_failure_gives_pips_words(installed):
    with pytest.raises(RuntimeError, match="loaded pandas as before: restart the session"):
        installed({"pandas": "3.1.1"})
    with pytest.raises(RuntimeError, match="the same cell tries again. no network"):
        installed({}, failures=2)
