"""Parameters of a chapter, checked against the notebook's own cell before anything runs.

The cell tagged `parameters` holds plain literals with a comment each. Its values are the defaults, their types are the
types, and a comment may end in a range `[low..high]` or in choices `[a | b | c]`. `params/<profile>/<chapter>.yaml`
is flat and overrides the defaults.
"""
import ast
import difflib
import functools
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from lib.engine import keys, paths


class ParameterError(ValueError):
    """A parameter file or value that cannot be used; one sentence names the file, the key, the value and a way out."""


# What a corpus may lack, and where a user adds it.
LACKS = {
    "english": "the corpus has too little English text (name a source that has some in `sources` of 01_corpus)",
    "pairs": "the corpus has too few translation pairs (add yours as TSV, JSONL or TMX to `pair_files` of 01_corpus)",
    "multiway": "the corpus has no multi-way items and no public tests are at hand (sources such as Django in `sources` of "
                "01_corpus give some)",
    "tests": "the corpus has too few test items (add yours as JSONL to `test_files` of 01_corpus)",
    "transfer": "no choice task of the corpus has items to train and to test on in both languages (the source `emoji` of "
                "01_corpus gives some in a dozen languages)"}
KINDS = {str: "a text", bool: "true/false", int: "a whole number", float: "a number", type(None): "nothing (null)"}
Scalar = str | bool | int | float | None


def model(source: str) -> type[pydantic.BaseModel]:
    """The parameters that a cell of `name = literal  # comment` lines states, as a strict model of their types and limits.

    Raises ValueError or SyntaxError when the cell holds anything else.
    """
    fields = {name: (_type(default, comment), pydantic.Field(default, description=comment))
              for name, (default, comment) in _assignments(source).items()}
    settings = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    return pydantic.create_model("Parameters", __config__=settings, **fields)


def defaults(chapter: str) -> dict:
    """Name → default value of the chapter's parameters, as its notebook states them."""
    return stated(chapter)().model_dump()


def stated(chapter: str) -> type[pydantic.BaseModel]:
    """The model of the notebook's tagged cell; ParameterError when there is no such notebook or cell."""
    path = paths.notebook(chapter)
    if not os.path.exists(path):  # pathlib errs for a long name
        known = sorted(file.stem for file in paths.NOTEBOOKS.glob("[0-9]*.ipynb"))
        raise ParameterError(f"There is no chapter {chapter!r}; {_nearest(chapter, known, 'chapter')}.")
    return _stated(path, path.stat().st_mtime_ns)


def load(profile: str, chapter: str) -> dict:
    """Every parameter of the chapter in a profile: the profile's file over the notebook's defaults, checked."""
    path = paths.parameters(profile, chapter)
    stated(chapter)
    if not os.path.exists(path):
        known = sorted(file.parent.name for file in paths.PARAMS.glob(f"*/{chapter}.yaml"))
        raise ParameterError(f"There is no parameter file {paths.shown(path)} for profile {profile!r} of chapter "
                             f"{chapter}; profiles that have one: {', '.join(known) or 'none'}.")
    values = read(path)
    if values.get("profile") != profile:
        raise ParameterError(f"{paths.shown(path)}: key `profile` is {beginning(repr(values.get('profile')))} and has to "
                             f"be {profile!r}, the name of its folder, or the chapter would write into another profile's run.")
    return check(chapter, values, paths.shown(path))


def files() -> list[Path]:
    """The chapters' parameter files of all profiles."""
    return sorted(paths.PARAMS.glob("*/[0-9]*.yaml"))


def read(path: Path) -> dict:
    """A flat YAML file as a dict; ParameterError when it is not one, or names a key twice."""
    try:
        values = yaml.load(path.read_text(encoding="utf8"), Loader=_UniqueKeys)
    # A value that is not of its tag, as a month 13, is an error of the constructor that PyYAML calls.
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        reason = beginning(str(error))
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


def compared(known: type[pydantic.BaseModel], values: dict, source: str, whose: str) -> dict:
    """The defaults of `known` with `values` over them; ParameterError as `check` raises it."""
    try:
        return known.model_validate(values).model_dump()
    except pydantic.ValidationError as errors:
        error = errors.errors()[0]
    name, fields = error["loc"][0], known.model_fields
    if name not in fields:
        raise ParameterError(f"{source}: unknown key `{beginning(str(name))}` (value {beginning(repr(error['input']))}) for "
                             f"{whose}; {_nearest(str(name), list(fields), 'key')}.")
    default, comment = fields[name].default, fields[name].description
    raise ParameterError(f"{source}: key `{name}` is {beginning(repr(values[name]))}, but {_problem(error, default, comment)}; "
                         f"the default is {default!r} ({comment}).")


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


def beginning(found: str, most: int = 200) -> str:
    """The text on one line, or where it is long its beginning, as an error says what it saw."""
    found = " ".join(found.split())
    return found if len(found) <= most else f"{found[:most]}…"


class _UniqueKeys(yaml.SafeLoader):
    """YAML as written, except that a key may stand only once, and that nothing is written once and meant twice: a page of
    aliases may stand for more than any memory holds."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias, *name, is not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key `{twice[0]}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@functools.lru_cache(maxsize=64)
def _stated(path: Path, _modified: int) -> type[pydantic.BaseModel]:
    """The model of a notebook file; cached until the file changes."""
    cells = [source for source, tags in keys.cells(path) if "parameters" in tags]
    if len(cells) != 1:
        raise ParameterError(f"{path.name} has {len(cells)} cells tagged `parameters`; it needs exactly one.")
    try:
        return model(cells[0])
    except (ValueError, SyntaxError) as error:
        raise ParameterError(f"{path.name}: its parameters cell may hold only `name = literal  # comment` lines "
                             f"({error}).") from error


def _assignments(source: str) -> dict[str, tuple[object, str]]:
    """Name → (literal, trailing comment) of each `name = literal  # comment` in a cell."""
    found, lines = {}, source.split("\n")
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            raise ValueError(f"line {node.lineno} is not an assignment")
        rest = lines[node.end_lineno - 1].encode("utf8")[node.end_col_offset:].decode("utf8")
        found[node.targets[0].id] = ast.literal_eval(node.value), rest.strip().removeprefix("#").strip()
    return found


def _type(default, comment: str):
    """The type of a default, within the range or the choices that its comment ends in."""
    if isinstance(default, list):
        return list[_type(default[0] if default else None, comment)]
    if isinstance(default, dict):
        return dict[str, pydantic.JsonValue]
    kind = Scalar if default is None else type(default)
    limits = re.search(r"\[([^\]]*)\]$", comment)
    if limits and "|" in limits[1]:
        return Literal[tuple((str if default is None else kind)(word.strip()) for word in limits[1].split("|"))]
    if limits and ".." in limits[1]:
        number = float if default is None else kind
        low, high = (number(end) if end.strip() else None for end in limits[1].split("..", 1))
        return Annotated[float | int | None if default is None else kind, pydantic.Field(ge=low, le=high)]
    return kind


def _problem(error: dict, default, comment: str) -> str:
    """What is wrong with a value, as the end of a sentence, from pydantic's error."""
    value, kind = error["input"], error["type"]
    seen = beginning(repr(value))
    if error["loc"][-1] == "[key]":
        return f"its key {seen} is {_kind(value)} where a text is needed: quote it"
    if kind == "invalid-json-value":
        return f"{seen} in it is {_kind(value)}, neither text nor number: quote it"
    if kind == "list_type":
        return f"it has to be a list, not {_kind(value)}"
    if kind == "finite_number":
        return f"{seen} is not a finite number"
    limits = comment[comment.rfind("["):]
    if kind == "literal_error":
        return f"{seen} is not one of {limits[1:-1].replace(' |', ',')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"{seen} lies outside its range {limits}"
    sample = next(iter(default), None) if isinstance(default, list) else default
    needed = "a single value" if sample is None else _kind(sample)
    number = isinstance(sample, float) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", str(value))
    return (f"{seen} is {_kind(value)} where {needed} is needed"
            + (", and YAML reads 1e-3 as text: write 1.0e-3" if number else ""))


def _kind(value) -> str:
    return KINDS.get(type(value), f"a {type(value).__name__}")


def _nearest(name: str, known: list[str], what: str) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)
    return f"the nearest valid {what} is `{near[0]}`" if near else f"there is no valid {what}"
