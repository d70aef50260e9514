"""What a result rests on, as one key: code, versions, settings and data. Trainings, cells and chapters all use it.

Code counts by what it computes: the syntax tree of every module that is reached by imports, without docstrings and
comments. So a comment repeats nothing, and a changed loss, chat template or library everything that it may have moved.
"""
import ast
import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path

import pandas

from lib.engine import machine, paths, records, store

BATCH = 1000  # rows of a data set that are read at a time
PRESENTATION = "lib/exhibits/"  # reads records alone: a change of it makes only the chapter that collects exhibits stale
ORDER = ("lib/engine/forks.py", "lib/engine/run.py")  # say what runs, when and in which process, and find nothing
COLLECTS = "14_paper"
FOLDERS = {"TASKS": paths.TASKS, "REPORTED": paths.REPORTED}  # a module that names one reads its files
SILENT = ("bootstrap", "chat")  # tags of cells that leave nothing in a record


def of(file: str, *content, without: tuple[str, ...] = (PRESENTATION,)) -> str:
    """sha256 of the code that a module (its `__file__`) reaches, versions, number format, and `content`.

    That may be settings (plain values or dataclasses), frames, data sets, and paths, of which the files count.
    `without` names folders whose code cannot change the result.
    """
    return _digest(code(Path(file).read_text(encoding="utf8"), without), machine.versions(machine.COMPUTING),
                   str(machine.dtype()[0]), *content)


def of_chapter(chapter: str, values: dict) -> dict[str, str]:
    """What a chapter's record rests on besides the records before it: name → digest.

    Its notebook, every parameter, every module that it reaches, every package that computes, and the files that its
    parameters name.
    """
    content = source(chapter)
    found = {f"notebooks/{chapter}.ipynb": _tree(ast.parse(content))}
    found |= {f"parameter {name}": _digest(value) for name, value in values.items()}
    found |= {f"file {paths.shown(file)}": records.digest(file) for file in named(values)}
    found |= {f"package {name}": version for name, version in machine.versions(machine.COMPUTING).items()}
    return found | code(content, ORDER if chapter == COLLECTS else (PRESENTATION, *ORDER))


def outdated(made: dict, values: dict) -> list[str]:
    """Why a chapter's record would be another one with these parameters now, each reason in a few words."""
    before = made.get("key")
    if not before:
        return ["made before records had a key"]
    if not paths.notebook(made["chapter"]).exists():
        return [f"there is no chapter {made['chapter']} any more"]
    now = of_chapter(made["chapter"], values)
    return [f"{name} changed" for name in sorted(before.keys() | now) if before.get(name) != now.get(name)]


def named(value) -> list[Path]:
    """The files that strings anywhere in a parameter's value name, and that can be read. (pathlib errs for a long name.)"""
    if isinstance(value, str):
        file = paths.named(value)
        return [file] if os.path.isfile(file) and os.access(file, os.R_OK) else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for part in parts for found in named(part)]


def kept(file: Path, key: str, make) -> pandas.DataFrame:
    """The frame that `make()` gives, kept as parquet in `file`; what was made under the same key is not made again.

    That may have been in a sweep's cell (`paths.twins`). `attrs` of the frame are kept too.
    """
    for place in filter(Path.exists, paths.twins(file)):
        try:
            found = records.read_frame(place, "it is made again")
        except store.SpoiledError as error:
            print(error)
            continue
        if found.attrs.get("key") == key:
            print(f"{paths.shown(place)}: made before from the same code, settings and data, not repeated.")
            return found
    made = make()
    made.attrs["key"] = key
    return pandas.read_parquet(records.write_frame(file, made))


def cells(notebook: Path) -> list[tuple[str, list[str]]]:
    """The code cells of a notebook's file: source and tags. (Plain JSON, since importing nbformat takes seconds.)"""
    found = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    return [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in found if cell["cell_type"] == "code"]


def code(source: str, without: tuple[str, ...] = (PRESENTATION,)) -> dict[str, str]:
    """File → digest of all of lib/ that a source reaches by imports, with the data files that go with them."""
    waiting, found = _imports(ast.parse(source)), {}
    while waiting:
        file = waiting.pop()
        name = file.relative_to(paths.ROOT).as_posix()
        if name not in found and not name.startswith(without):
            found[name], more = _read(file, file.stat().st_mtime_ns)
            waiting += more
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=512)
def _read(file: Path, _modified: int) -> tuple[str, tuple[Path, ...]]:
    """A file's digest, and what it brings along: the modules it imports, data of its name, and FOLDERS."""
    if file.suffix != ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest(), ()
    source = file.read_text(encoding="utf8")
    tree = ast.parse(source)
    data = [path for path in map(file.with_suffix, (".yaml", ".tsv")) if path.exists()]
    written = {name for name in FOLDERS if name in source}  # by few modules: not every tree is walked for it
    named = written and written & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    data += [path for name in sorted(named) for path in FOLDERS[name].rglob("*") if path.suffix in (".py", ".yaml", ".csv")]
    return _tree(tree), (*_imports(tree), *data)


def _imports(tree: ast.AST) -> list[Path]:
    """Files of the modules of lib that a syntax tree imports."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            found += [_module(node.module), *(_module(f"{node.module}.{alias.name}") for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [_module(alias.name) for alias in node.names if alias.name.split(".")[0] == "lib"]
    return [file for file in found if file]


def _module(name: str) -> Path | None:
    """The file of a module or package, None when there is none of that name."""
    place = paths.ROOT / name.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)


def source(chapter: str) -> str:
    """The code of a notebook without its parameters, the cells that find nothing and the notebook's own commands."""
    found = [source for source, tags in cells(paths.notebook(chapter)) if not {"parameters", *SILENT} & {*tags}]
    lines = "\n".join(found).split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def _tree(tree: ast.AST) -> str:
    """Digest of what a source does, from its syntax tree, which loses its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _digest(*values) -> str:
    """sha256 of values, read piece by piece."""
    total = hashlib.sha256()
    for value in values:
        for part in _parts(value):
            total.update(part)
        total.update(b"\0")  # or 24 and 8 would be 2 and 48
    return total.hexdigest()


def _parts(value):
    """A value as bytes, piece by piece: a data set is never in memory at once."""
    if isinstance(value, Path):
        yield records.digest(value).encode()
    elif isinstance(value, pandas.DataFrame):
        yield value.to_json(force_ascii=False, orient="split").encode()
    elif hasattr(value, "with_format"):
        for batch in value.with_format("pandas").iter(BATCH):
            yield from _parts(batch)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, (Path, pandas.DataFrame)) for part in value):
        for part in value:
            yield from _parts(part)
    else:
        plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
        yield json.dumps(plain, ensure_ascii=False, sort_keys=True, default=str).encode()
