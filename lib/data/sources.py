"""One small reader for each source: what a package or a user's file holds, as units of text in one or more languages.

A *unit* is a dict: `source`, `group` (what must stay on one side of a split: a file, a poem, a string's English
key), and a text for each language code it has. Readers take what is there; filtering is the corpus's work.
"""
import contextlib
import functools
import io
import json
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import polib
import regex
import yaml
from lxml import etree

from lib.data import files, prompts, text
from lib.data.files import SourceError
from lib.engine import assets, paths
from lib.engine.params import beginning

# How packages spell languages that have more than one written standard.
LOCALES = {"en": ("en-GB", "en-US", "C"), "zh": ("zh-CN", "zh_CN", "zh_Hans", "zh-hans"), "pt": ("pt-BR", "pt_BR")}
# Chatterbot's topics that insult people or groups.
RUDE_TOPICS = ("humor", "politics")
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "title"}
EDGES = HEADINGS | {"p", "div", "li", "dt", "dd", "td", "th", "item", "desc", "body", "page", "section"}
MOST_CHOICES = 8  # letters that a language may have for the options of a test
SKIPPED = {"pre", "script", "style", "head", "info", "code-block", "screen", "media", "links"}
NAVIGATION = {"banner", "title"}
# Emoji of several signs, and skin tones and letters of flags alone: many symbols with nearly one name.
VARIANT = regex.compile(r"..|[\U0001F3FB-\U0001F3FF\U0001F1E6-\U0001F1FF]", regex.S)
# The letter after _, & or ~ is underlined in a menu: a mark of the interface, not of the language.
MNEMONIC = regex.compile(r"[_&~](?=\p{L})")
# `key = value` and `.attribute = value` of Fluent and .properties files, with the indented lines that carry it on.
ASSIGNMENT = regex.compile(r"^[ \t]*[\w.-]+[ \t]*=[ \t]*(.*(?:\n(?![ \t]*\.?[\w-]+[ \t]*=)[ \t]+.*)*)", regex.M)


class Content(NamedTuple):
    """What a source holds: units as in the module's docstring, and material for dialogues and test items."""

    units: Sequence[dict]
    dialogues: list[dict] = []  # source, group, language, prompt, reply
    couplets: list[dict] = []  # group, first, second
    symbols: list[dict] = []  # group, symbol, <language>: phrase
    sections: list[dict] = []  # source, group, language, heading, passage
    tests: list[dict] = []  # a user's own: id, task, language, split, question, choices, answer
    outside: list[dict] = []  # texts that are tests alone: id, source, group, language, register, split, text
    agreement: list[dict] = []  # language, sentence, fault: the same with a verb of the other number
    left_out: list[dict] = []  # of a user's file, what could not be used: language, source, filter, rows


def read(name: str, languages: list[str]) -> Content:
    """Fetches a source and reads it in `languages`: `en`, the one learned, further ones. SourceError for an unknown one."""
    if name not in READERS:
        raise SourceError(f"There is no source {name!r}; choose from {', '.join(READERS)}.")
    return READERS[name](name, assets.fetch(name), languages)


def locale(language: str, available: list[str]) -> str | None:
    """The name among `available` that stands for a language: exactly it, its usual standard, or any country's."""
    wanted = [language, *LOCALES.get(language, ())]
    others = [name for name in sorted(available) if name.startswith((language + "-", language + "_"))]
    return next((name for name in wanted + others if name in available), None)


def book(name: str, folder: Path, languages: list[str], root: str, pattern: str) -> Content:
    """HTML or Mallard files of the same name in a folder for English and the learned language.

    What nobody translated stands in English, and falls to the script filter.
    """
    root = folder / root
    places = {code: locale(code, [path.name for path in root.iterdir()]) for code in languages[:2]}
    places = {code: root / place for code, place in places.items() if place}
    units, sections = [], []
    for english in sorted(places["en"].rglob(pattern)):
        file = english.relative_to(places["en"])
        versions = {code: blocks(place / file) for code, place in places.items() if (place / file).exists()}
        group = f"{name}/{file.with_suffix('').as_posix()}"
        units += [{"source": name, "group": group, **unit} for unit in _aligned(versions)]
        sections += [{"source": name, "group": group, "language": code, "heading": heading, "passage": passage}
                     for code, found in versions.items()
                     for (is_heading, heading), (other, passage) in zip(found, found[1:]) if is_heading and not other]
    return Content(units, sections=sections)


def _aligned(versions: dict[str, list[tuple[bool, str]]]) -> list[dict]:
    """Units over all languages when the blocks match one to one, else one unit for each block of each language."""
    if len({len(found) for found in versions.values()}) == 1:
        return [dict(zip(versions, (string for _, string in row))) for row in zip(*versions.values())]
    return [{code: string} for code, found in versions.items() for _, string in found]


def blocks(path: Path) -> list[tuple[bool, str]]:
    """(is a heading, text) of each block of an HTML or Mallard file; listings and navigation are left out."""
    parser = etree.XMLParser(recover=True, resolve_entities=False, remove_comments=True, remove_pis=True)
    found, pieces = [], []
    for piece in [*_pieces(etree.parse(path, parser).getroot()), False]:
        if isinstance(piece, str):
            pieces.append(piece)
            continue
        string = " ".join("".join(pieces).split())
        if string:
            found.append((piece, string.lstrip("0123456789.\xa0 ") if piece else string))
        pieces = []
    return found


def _pieces(node) -> Iterator[str | bool]:
    """Text in reading order; a bool where a block ends: True when it was a heading."""
    tag = etree.QName(node).localname
    hidden = tag in SKIPPED or node.get("id") in NAVIGATION or node.get("class", "").startswith("docnav")
    if not hidden:
        if tag in EDGES:
            yield False
        yield node.text or ""
        for child in node:
            yield from _pieces(child)
        if tag in EDGES:
            yield tag in HEADINGS
    yield node.tail or ""


def packed(path: Path) -> dict[int, str]:
    """Strings of a Chromium .pak file, version 5, by resource number; resources that are not UTF-8 text are left out.

    Layout: Chromium's `tools/grit/pak_util.py`: header, (id, offset) entries, (id, entry index) aliases, data.
    """
    data = path.read_bytes()
    version, _, count, aliases = struct.unpack("<IB3xHH", data[:12])
    if version != 5:
        raise SourceError(f"{path.name} is a .pak file of version {version}; only 5 can be read, so leave it out.")
    table = list(struct.iter_unpack("<HI", data[12:18 + 6 * count]))
    links = list(struct.iter_unpack("<HH", data[18 + 6 * count:18 + 6 * count + 4 * aliases]))
    found = {}
    for number, index in [(entry[0], index) for index, entry in enumerate(table[:-1])] + links:
        with contextlib.suppress(UnicodeDecodeError):
            found[number] = data[table[index][1]:table[index + 1][1]].decode("utf8")
    return found


def _messages(path: Path) -> dict[str, str]:
    """Strings of a JSON file of the wiki software, by key."""
    found = json.loads(path.read_text(encoding="utf8"))
    return {key: value for key, value in found.items() if isinstance(value, str)}


def strings(name: str, folder: Path, languages: list[str], pattern: str, load: Callable) -> Content:
    """Strings of programs that share a key, in folders with a file for each language."""
    units = []
    for root in sorted({path.parent for path in folder.rglob(pattern)}):
        found = {path.stem: path for path in root.glob(pattern)}
        places = {code: locale(code, list(found)) for code in languages}
        tables = {code: load(found[place]) for code, place in places.items() if place and places["en"]}
        english = tables.pop("en", {})
        units += [unit(name, string, {code: table[key] for code, table in tables.items() if table.get(key)})
                  for key, string in english.items() if string]
    return Content(units)


def unit(name: str, english: str, others: dict[str, str], clean=text.plain) -> dict:
    """A unit of a short string, grouped by its English content, so that it is on one side of the split everywhere.

    What is plain already is cleaned by `str`: twice unescaped, the name of a tag would become a tag and go.
    """
    others = {code: clean(string) for code, string in others.items()}
    english = clean(english)
    return {"source": name, "group": f"string/{text.key(english)}", "en": english, **others}


def gettext(name: str, folder: Path, languages: list[str], further: bool = False) -> Content:
    """Interfaces of programs: gettext catalogues with their English. With `further`, strings in other languages too."""
    own = _catalogues(folder, languages[1])
    others = {code: _catalogues(folder, code) for code in languages[2:] if further}
    units = []
    for domain, pairs in own.items():
        tables = {code: dict(found.get(domain, ())) for code, found in others.items()}
        units += [unit(name, english, {languages[1]: string, **{code: table[english] for code, table in tables.items()
                                                                if english in table}}, str) for english, string in pairs]
    return Content(units)


def _catalogues(folder: Path, language: str) -> dict[Path, list[tuple[str, str]]]:
    """Pairs of every catalogue in a language, by the catalogue's path without the language."""
    places = {path: _place(path) for path in sorted(folder.rglob("*.[mp]o"))}
    wanted = locale(language, [code for code, _ in places.values()])
    return {domain: catalogue(path) for path, (code, domain) in places.items() if code == wanted}


def _place(path: Path) -> tuple[str, Path]:
    """The language that a path names (fa/LC_MESSAGES/x.mo, fa.mo or admin-fa.mo), and the path without it."""
    if path.parent.name == "LC_MESSAGES":
        return path.parent.parent.name, path.parents[2] / path.name
    code = path.stem.rpartition("-")[2]
    return code, path.with_name(path.stem.removesuffix(code) + path.suffix)


def catalogue(path: Path) -> list[tuple[str, str]]:
    """(English, translation) of a .mo or .po file, plural forms left out, menu marks removed where both have one."""
    load = polib.mofile if path.suffix == ".mo" else polib.pofile
    pairs = [(text.plain(entry.msgid), text.plain(entry.msgstr)) for entry in load(str(path))
             if entry.msgstr and "fuzzy" not in entry.flags]
    return [tuple(MNEMONIC.sub("", string) for string in pair)
            if all(len(MNEMONIC.findall(string)) == 1 for string in pair) else pair for pair in pairs]


def firefox(name: str, folder: Path, languages: list[str]) -> Content:
    """The browser's interface, Persian without its English: Fluent and .properties files in a zip, a group a file."""
    units = []
    for pack in sorted(folder.rglob(f"langpack-{languages[1]}@*.xpi")):
        with zipfile.ZipFile(pack) as archive:
            for file in sorted(file for file in archive.namelist() if file.endswith((".ftl", ".properties"))):
                assigned = ASSIGNMENT.findall(archive.read(file).decode("utf8"))
                strings = [" ".join(string.replace("\\n", " ").split()) for string in assigned if string.strip()]
                units += [{"source": name, "group": f"string/{name}/{file}", languages[1]: text.plain(string)}
                          for string in strings]
    return Content(units)


def emoji(name: str, folder: Path, languages: list[str]) -> Content:
    """Names of emoji (Unicode CLDR): noun phrases, and the symbols themselves for test items."""
    root, language = folder / "emoji/unicode_codes", languages[1]
    names = json.loads((root / "emoji.json").read_text(encoding="utf8"))
    file = root / f"emoji_{language}.json"
    translated = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    units, symbols = [], []
    for symbol, other in translated.items():
        plain = symbol.replace("\ufe0f", "")  # with a mark or without, it is one emoji
        if not VARIANT.match(plain) and (plain == symbol or plain not in translated):
            english, phrase = (string.strip(":").replace("_", " ") for string in (names[symbol]["en"], other))
            units.append(unit(name, english, {language: phrase}))
            symbols.append({"group": units[-1]["group"], "symbol": symbol, "en": english, language: phrase})
    return Content(units, symbols=symbols)


def hafez(name: str, folder: Path, languages: list[str]) -> Content:
    """495 ghazals of Hafez (14th century) and two modern interpretations of each; Persian only."""
    poems = json.loads((folder / "hafez/data/hafez.json").read_text(encoding="utf8")) if "fa" in languages[:2] else []
    units, couplets = [], []
    for poem in poems:
        group, lines = f"{name}/{poem['id']}", poem["poem"]
        strings = ["\n".join(lines), poem["interpretation"], poem["alt_interpretation"]]
        units += [{"source": name, "group": group, "fa": string} for string in strings if string]
        couplets += [{"group": group, "first": first, "second": second}
                     for first, second in zip(lines[::2], lines[1::2])]
    return Content(units, couplets=couplets)


def chatterbot(name: str, folder: Path, languages: list[str]) -> Content:
    """Short dialogues by topic; each line answers the one before. Those of further languages are no text of the corpus."""
    dialogues = []
    for code in (code for code in languages if code in text.LANGUAGES):
        root = folder / "chatterbot_corpus/data" / text.LANGUAGES[code].name.lower()
        for path in sorted(root.glob("*.yml")):
            if path.stem not in RUDE_TOPICS:
                dialogues += _turns(name, code, yaml.load(path.read_text(encoding="utf8"), Loader=yaml.CSafeLoader))
    units = [{"source": name, "group": row["group"], row["language"]: f"{row['prompt']}\n{row['reply']}"}
             for row in dialogues if row["language"] in languages[:2]]
    return Content(units, dialogues)


def _turns(name: str, code: str, topic: dict) -> list[dict]:
    """Neighbouring lines of a topic's conversations as prompt and reply, grouped by prompt."""
    turns = [(str(prompt), str(reply)) for lines in topic["conversations"] for prompt, reply in zip(lines, lines[1:])]
    return [{"source": name, "group": f"dialogue/{code} {text.key(prompt)}", "language": code,
             "prompt": prompt, "reply": reply} for prompt, reply in turns]


# A reader is a function of the source's name, its folder, and the languages: English, the learned one, further ones.
READERS: dict[str, Callable[[str, Path, list[str]], Content]] = {
    "debian-handbook": functools.partial(book, root="usr/share/doc/debian-handbook/html", pattern="*.html"),
    "gnome-user-docs": functools.partial(book, root="usr/share/help", pattern="*.page"),
    "chromium-l10n": functools.partial(strings, pattern="*.pak", load=packed),
    "mediawiki": functools.partial(strings, pattern="*.json", load=_messages),
    **dict.fromkeys(("wordpress-l10n", "libreoffice-l10n-fa", "evolution-common", "gnucash-common", "pidgin-data",
                     "gnome-control-center-data", "gnome-software-common", "vlc-l10n"), gettext),
    "Django": functools.partial(gettext, further=True), "firefox-esr-l10n-fa": firefox, "emoji": emoji, "hafez": hafez,
    "chatterbot-corpus": chatterbot}


def own(path: Path, language: str, column: str = "text", limit: int = 0) -> Content:
    """A user's corpus in one language, of any kind that `lib.files` reads; `limit` in characters (0: all).

    Rows whose text is empty, or no text, are counted. Raises SourceError when the file is missing, empty, binary, of
    another encoding or shape, or lacks the column.
    """
    return _documents([Path(path)], Path(path).name, language, column, limit)


def hub(identifier: str, language: str, column: str, pattern: str, limit: int = 0) -> Content:
    """A hub data set `org/name@revision`: its files that match `pattern`, read like one's own; `limit` in characters."""
    found = sorted(path for path in assets.hub(identifier, "dataset", [pattern]).glob(pattern) if path.is_file())
    if not found:
        raise SourceError(f"{identifier} has no file that matches {pattern!r}; set `corpus_pattern`.")
    return _documents(found, identifier.partition("@")[0], language, column, limit)


def _documents(places: list[Path], name: str, language: str, column: str, limit: int) -> Content:
    counts = Counter()
    rows = ((f"{path.name}/{number}", row) for path in places
            for number, row in enumerate(files.texts(path, column, language)))

    def found():
        for group, document in rows:
            counts["bad"] += not _filled(document)
            for line in text.lines(document) if _filled(document) else ():
                if line.strip():
                    yield {"source": name, "group": group, language: line}
            counts["seen"] += len(document) if _filled(document) else 0
            if limit and counts["seen"] >= limit:
                break
    units = files.Spool(found())
    if not units:
        where = f" in its {counts['bad']} rows" if counts["bad"] else ""
        raise SourceError(f"{places[0]} holds no text{where}; give a file with at least one document.")
    return Content(units, left_out=_left_out(name, language, "no text", counts["bad"]))


def _left_out(source: str, language: str, name: str, rows: int) -> list[dict]:
    return [{"language": language, "source": source, "filter": name, "rows": rows}] if rows else []


def pairs(path: Path, language: str) -> Content:
    """A user's translation pairs: a file of rows (`lib.files`) with the columns `english` and `target`, or named by the
    codes of the languages, a .tsv file of two columns without a header, English first, or .tmx.

    Rows that are no pair are counted. Raises SourceError when none is one, or as `own` does.
    """
    path = Path(path)
    files.check(path, ".tmx", *files.ROWS)
    found = [unit(path.name, english, {language: other}) if _filled(english) and _filled(other) else None
             for english, other in _sides(path, language)]
    units = list(filter(None, found))
    if not units:
        raise SourceError(f"{path} holds no pair in its {len(found)} rows; give them the columns `english` and "
                          f"`target`, or `en` and `{language}`, with text in both.")
    return Content(units, left_out=_left_out(path.name, f"en-{language}", "no pair", len(found) - len(units)))


def _filled(found) -> bool:
    return isinstance(found, str) and bool(found.strip())


def _sides(path: Path, language: str) -> Iterator[tuple]:
    """(English, translation) of each row, None for what it lacks."""
    if files.kind(path) == ".tmx":
        yield from (sides[:2] for sides in memory(path, io.BytesIO(files.content(path)), language))
        return
    names = {"english": 0, "en": 0, "target": 1, language.lower(): 1}
    if files.kind(path) == ".tsv":
        rows = files.table(path, language)
        if rows and len(rows[0]) == 2 and not any(name.strip().lower() in names for name in rows[0]):
            yield from (row if len(row) == 2 else (None, None) for row in rows)
            return
    for _, row in files.records(path, language, list(names)):
        found = {names[name.lower()]: side for name, side in (row or {}).items() if name.lower() in names}
        yield found.get(0), found.get(1)


def memory(name: str, stream: IO[bytes], language: str) -> Iterator[tuple]:
    """(English, translation, id) of each unit of a translation memory (TMX 1.4), None for what it lacks.

    The file names neither other files nor entities that are looked up: a segment with an entity of its own is none.
    """
    try:
        for _, node in etree.iterparse(stream, tag="{*}tu", resolve_entities=False,
                                       no_network=True, load_dtd=False):
            found = {}
            for version in node.iterfind("{*}tuv"):
                code = regex.split("[-_]", version.xpath("string(@xml:lang | @lang)").lower())[0]  # `fa` of `fa-IR`
                found.setdefault(code, _segment(version.find("{*}seg")))
            yield found.get("en"), found.get(language), node.get("tuid")
            node.clear()
    except etree.XMLSyntaxError as error:
        raise SourceError(f"{name} is not well-formed XML ({beginning(str(error))}); export it again.") from error


def _segment(node) -> str | None:
    """The text of a segment without the codes of formats inside it."""
    if node is None or any(part.tag is etree.Entity for part in node.iter()):
        return None
    return "".join(node.xpath(".//text()[not(ancestor::*[contains(' bpt ept it ph ut ', "
                              "concat(' ', local-name(), ' '))])]"))


def tests(path: Path, language: str) -> Content:
    """A user's own test items, each {"question", "choices", "answer", "language", "id"}, the last two optional.

    `answer` is the index of the right choice, from 0, or its text; the task is called as the file. Raises SourceError
    for a task's name, and for the first item that is not so, naming its line: a test is taken whole or not at all.
    """
    path, found = Path(path), {}
    task = files.stem(path)
    files.check(path, ".jsonl", ".json")
    known = {file.stem for file in paths.TASKS.glob("*.yaml")} | set(prompts.PHRASES)
    if task in known or not regex.fullmatch(r"[\w-]+", task):
        raise SourceError(f"{path} would give its task the name {task!r}; name the file with letters, digits, - and _, "
                          f"and not {', '.join(sorted(known))}.")
    for number, row in files.records(path, language, []):
        item = _test(f"{path}, line {number}", row, language)
        name = f"{task}/{number if item['id'] is None else item['id']}"
        if name in found:
            raise SourceError(f"{path}, line {number}: the id {item['id']!r} stands twice; give each item its own.")
        found[name] = {**item, "id": name, "task": task, "split": "test"}
    if not found:
        raise SourceError(f"{path} holds no test item; give one object a line with question, choices and answer.")
    return Content([], tests=list(found.values()))


def _test(place: str, row: dict, language: str) -> dict:
    """An item of a user's test, checked and normalised."""
    code, choices = row.get("language") or language, row.get("choices")
    if not isinstance(code, str) or not regex.fullmatch("[a-z]{2,3}", code):
        raise SourceError(f"{place}: `language` is {beginning(repr(code))} and has to be a code, like {language}.")
    if not _filled(row.get("question")):
        raise SourceError(f"{place}: `question` is {beginning(repr(row.get('question')))} and has to be a text.")
    if not isinstance(choices, list) or not 2 <= len(choices) <= MOST_CHOICES or not all(map(_filled, choices)):
        raise SourceError(f"{place}: `choices` is {beginning(repr(choices))} and has to be a list of 2 to {MOST_CHOICES} "
                          "texts.")
    choices = [text.normalise(choice, code) for choice in choices]
    spelled = list(map(text.folded, choices))
    if len(set(spelled)) < len(spelled):
        raise SourceError(f"{place}: `choices` has one choice twice ({beginning(', '.join(choices))}).")
    return {"id": row.get("id"), "language": code, "question": text.normalise(row["question"], code),
            "choices": choices, "answer": _answer(place, row.get("answer"), spelled, code)}


def _answer(place: str, answer, spelled: list[str], code: str) -> int:
    """Index of the right choice, from its index or its text."""
    if isinstance(answer, str) and text.folded(text.normalise(answer, code)) in spelled:
        return spelled.index(text.folded(text.normalise(answer, code)))
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(spelled):
        return answer
    raise SourceError(f"{place}: `answer` is {beginning(repr(answer))} and has to be the text of a choice, or its number "
                      f"from 0 to {len(spelled) - 1}.")
