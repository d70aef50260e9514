"""Parameters of a chapter, checked against the notebook's own cell before anything runs.

The cell tagged `parameters` holds plain literals with a comment each. Its values are the defaults, their types are the
types, and a comment may end in a range `[low..high]` or in choices `[a | b | c]`. `params/<profile>/<chapter>.yaml`
is flat and overrides the defaults.
"""
import argparse
import ast
import difflib
import functools
import math
import re
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml

from lib.engine import paths


class ParameterError(ValueError):
    """A parameter file or value that cannot be used; one sentence names the file, the key, the value and a way out."""


class Parameter(NamedTuple):
    """A parameter as the notebook states it: its default, its comment, and the limits that the comment ends in."""

    default: object
    comment: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


# What a corpus may lack, and where a user adds it.
LACKS = {
    "english": "the corpus has too little English text (name a source that has some in `sources` of 01_corpus)",
    "pairs": "the corpus has too few translation pairs (add yours as TSV, JSONL or TMX to `pair_files` of 01_corpus)",
    "multiway": "the corpus has no multi-way items and no public tests are at hand (sources such as Django in `sources` of "
                "01_corpus give some)",
    "tests": "the corpus has too few test items (add yours as JSONL to `test_files` of 01_corpus)",
    "transfer": "no choice task of the corpus has items to train and to test on in both languages (the source `emoji` of "
                "01_corpus gives some in a dozen languages)"}
LAUNCH = {"accelerate": Parameter("", "what trainings are launched by: a file of params/accelerate/ or a path to one; "
                                  "empty: in the chapter's own process"),
          "at_once": Parameter(0, "examples of a batch that a device computes at once, 0: all of its share [0..]", 0)}


def defaults(chapter: str) -> dict:
    """Name → default value of the chapter's parameters, as its notebook states them."""
    return {name: parameter.default for name, parameter in stated(chapter).items()}


def stated(chapter: str) -> dict[str, Parameter]:
    """Name → Parameter from the notebook's tagged cell; ParameterError when there is no such notebook or cell."""
    path = paths.notebook(chapter)
    if not path.exists():
        known = sorted(file.stem for file in paths.NOTEBOOKS.glob("[0-9]*.ipynb"))
        raise ParameterError(f"There is no chapter {chapter!r}; {_nearest(chapter, known, 'chapter')}.")
    return _stated(path, path.stat().st_mtime_ns)


def load(profile: str, chapter: str) -> dict:
    """Every parameter of the chapter in a profile: the profile's file over the notebook's defaults, checked."""
    path = paths.parameters(profile, chapter)
    stated(chapter)
    if not path.exists():
        known = sorted(file.parent.name for file in paths.PARAMS.glob(f"*/{chapter}.yaml"))
        raise ParameterError(f"There is no parameter file {paths.shown(path)} for profile {profile!r} of chapter "
                             f"{chapter}; profiles that have one: {', '.join(known) or 'none'}.")
    values = read(path)
    if values.get("profile") != profile:
        raise ParameterError(f"{paths.shown(path)}: key `profile` is {values.get('profile')!r} and has to be "
                             f"{profile!r}, the name of its folder, or the chapter would write into another profile's run.")
    return check(chapter, values, paths.shown(path))


def files_of(profile: str = "*") -> list[Path]:
    """The chapters' parameter files of one profile or of all; `sweeps/` and `accelerate/` are no profiles."""
    return sorted(file for file in paths.PARAMS.glob(f"{profile}/*.yaml")
                  if file.parent.name not in ("sweeps", "accelerate") and file != paths.launch(file.parent.name))


def launch(profile: str) -> dict:
    """How the profile's trainings are launched (`LAUNCH`): its `launch.yaml` over the defaults, which may be missing.

    Raises ParameterError as `check` does, or when there is no such configuration.
    """
    path = paths.launch(profile)
    values = compared(LAUNCH, read(path) if path.exists() else {}, paths.shown(path), "a launch")
    name = values["accelerate"]
    if name and not paths.accelerate(name).is_file():
        known = ", ".join(sorted(file.stem for file in paths.PARAMS.glob("accelerate/*.yaml"))) or "none"
        raise ParameterError(f"{paths.shown(path)}: key `accelerate` is {name!r}, but there is no file "
                             f"{paths.shown(paths.accelerate(name))}; there are: {known}.")
    return values


def read(path: Path) -> dict:
    """A flat YAML file as a dict; ParameterError when it is not one, or names a key twice."""
    try:
        values = yaml.load(path.read_text(encoding="utf8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{paths.shown(path)} is not valid YAML ({reason}); "
                             "write one `key: value` a line.") from error
    if not isinstance(values or {}, dict):
        raise ParameterError(f"{paths.shown(path)} holds {type(values).__name__}, not keys; "
                             "write one `key: value` a line.")
    return values or {}


def check(chapter: str, values: dict, source: str) -> dict:
    """The chapter's defaults with `values` over them.

    Raises ParameterError, naming `source`, for an unknown key, a wrong type, or a value out of its range or choices.
    """
    return compared(stated(chapter), values, source, f"chapter {chapter}")


def compared(known: dict[str, Parameter], values: dict, source: str, whose: str) -> dict:
    """The defaults of `known` with `values` over them; ParameterError as `check` raises it."""
    for name, value in values.items():
        if name not in known:
            raise ParameterError(f"{source}: unknown key `{name}` (value {value!r}) for {whose}; "
                                 f"{_nearest(str(name), list(known), 'key')}.")
        problem = _problem(known[name], value)
        if problem:
            raise ParameterError(f"{source}: key `{name}` is {value!r}, but {problem}; "
                                 f"the default is {known[name].default!r} ({known[name].comment}).")
    return {name: _convert(parameter.default, values.get(name, parameter.default)) for name, parameter in known.items()}


def lack(name: str) -> str:
    """What a corpus lacks, a key of `LACKS`, as a sentence of its own."""
    return f"{LACKS[name][0].upper()}{LACKS[name][1:]}."


def written(profile: str, chapter: str, values: dict) -> set[str]:
    """Names of the parameters that are the user's own: those in the profile's file, and any that is not the default."""
    path = paths.parameters(profile, chapter)
    changed = {name for name, default in defaults(chapter).items() if values[name] != default}
    return changed.union(read(path) if path.exists() else ())


def injected(variables: dict) -> dict:
    """Parameters that papermill put into this kernel, from its `# Parameters` cell; empty when it put none."""
    cells = [cell for cell in variables.get("In", []) if cell.startswith("# Parameters\n")]
    return {name: value for cell in cells for name, (value, _) in _assignments(cell).items()}


class _UniqueKeys(yaml.SafeLoader):
    """YAML as written, except that a key may stand only once."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key `{twice[0]}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@functools.lru_cache(maxsize=64)
def _stated(path: Path, _modified: int) -> dict[str, Parameter]:
    """Parameters of a notebook file; cached until the file changes."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{path.name} has {len(cells)} cells tagged `parameters`; it needs exactly one.")
    try:
        found = _assignments(cells[0].source)
    except (ValueError, SyntaxError) as error:
        raise ParameterError(f"{path.name}: its parameters cell may hold only `name = literal  # comment` lines "
                             f"({error}).") from error
    return {name: _parameter(value, comment) for name, (value, comment) in found.items()}


def _assignments(source: str) -> dict[str, tuple[object, str]]:
    """Name → (literal, trailing comment) of each `name = literal  # comment` in a cell."""
    found, lines = {}, source.split("\n")
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            raise ValueError(f"line {node.lineno} is not an assignment")
        rest = lines[node.end_lineno - 1].encode("utf8")[node.end_col_offset:].decode("utf8")
        found[node.targets[0].id] = ast.literal_eval(node.value), rest.strip().removeprefix("#").strip()
    return found


def _parameter(default, comment: str) -> Parameter:
    """Reads the range or the choices that a comment ends in."""
    limits = re.search(r"\[([^\]]*)\]$", comment)
    if limits and "|" in limits[1]:
        return Parameter(default, comment, choices=tuple(word.strip() for word in limits[1].split("|")))
    if limits and ".." in limits[1]:
        low, high = (float(end) if end.strip() else None for end in limits[1].split("..", 1))
        return Parameter(default, comment, low, high)
    return Parameter(default, comment)


def _problem(parameter: Parameter, value) -> str:
    """What is wrong with a value, as the end of a sentence; empty when nothing is."""
    if isinstance(parameter.default, list):
        if not isinstance(value, list):
            return f"it has to be a list, not {_kind(value)}"
        samples = parameter.default[:1]
        found = (_problem_of_one(parameter, samples[0] if samples else item, item) for item in value)
        return next((problem for problem in found if problem), "")
    return _problem_of_one(parameter, parameter.default, value)


def _problem_of_one(parameter: Parameter, sample, value) -> str:
    if not _same_kind(sample, value):
        hint = ", and YAML reads 1e-3 as text: write 1.0e-3" if isinstance(sample, float) and _is_number(value) else ""
        return f"{value!r} is {_kind(value)} where {_kind(sample)} is needed{hint}"
    if parameter.choices and str(value) not in parameter.choices:
        return f"{value!r} is not one of {', '.join(parameter.choices)}"
    if value is None or isinstance(value, (str, bool, dict)):
        return ""
    if not math.isfinite(value):
        return f"{value!r} is not a finite number"
    if parameter.low is not None and value < parameter.low or parameter.high is not None and value > parameter.high:
        return f"{value!r} lies outside its range {parameter.comment[parameter.comment.rindex('['):]}"
    return ""


def _same_kind(sample, value) -> bool:
    """Whether a value may stand for the sample: an int serves as a float, a default of None takes any scalar."""
    if sample is None:
        return value is None or isinstance(value, (str, bool, int, float))
    if isinstance(sample, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(sample) and isinstance(value, (str, bool, int, dict))


def _convert(default, value):
    """An int given for a float becomes one, so that a run does not depend on how a number was written."""
    if isinstance(default, list) and isinstance(value, list):
        return [_convert(default[0], item) for item in value] if default else list(value)
    return float(value) if isinstance(default, float) else value


def _is_number(value) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value))


def _kind(value) -> str:
    names = {str: "a text", bool: "true/false", int: "a whole number", float: "a number", type(None): "nothing (null)"}
    return names.get(type(value), f"a {type(value).__name__}")


def _nearest(name: str, known: list[str], what: str) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    return f"the nearest valid {what} is `{near[0]}`" if near else f"there is no valid {what}"


def main(arguments: list[str] | None = None) -> int:
    """Checks every parameter file, or those of one profile: `python -m lib.engine.params [profile]`; 1 when one is wrong."""
    parser = argparse.ArgumentParser(description="Check parameter files against the notebooks.")
    parser.add_argument("profile", nargs="?", default="*")
    profile = parser.parse_args(arguments).profile
    files, launches = files_of(profile), sorted(paths.PARAMS.glob(f"{profile}/launch.yaml"))
    checks = [(load, file.parent.name, file.stem) for file in files] + [(launch, file.parent.name) for file in launches]
    errors = []
    for check, *names in checks:
        try:
            check(*names)
        except ParameterError as error:
            errors.append(str(error))
    print("\n".join(errors or [f"{len(checks)} parameter files are valid."]))
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
