"""Readers: a book in two languages, packed tables, catalogues, and a user's own files."""
import gzip
import json
import struct
import zipfile

import pandas
import polib
import pytest

from lib import sources

HTML = """<html xmlns="http://www.w3.org/1999/xhtml"><head><title>skip</title></head><body><p id="title">nav</p>
<ul class="docnav top"><li>Next</li></ul><div class="section"><h2>4.1. {0}</h2><div class="para">{1} <em>{2}</em>
<!-- no --> end<pre>code</pre></div><p>{3}</p></div></body></html>"""


def test_blocks_leave_navigation_and_listings_out(tmp_path):
    (tmp_path / "a.html").write_text(HTML.format("Heading", "One", "two", "Three"), encoding="utf8")
    assert sources.blocks(tmp_path / "a.html") == [(True, "Heading"), (False, "One two end"), (False, "Three")]


def test_book_aligns_blocks_and_groups_by_file(tmp_path):
    for place, words in (("en-US", ("Heading", "One", "two", "Three")), ("fa-IR", ("عنوان", "یک", "دو", "سه"))):
        folder = tmp_path / "usr/share/doc/debian-handbook/html" / place
        folder.mkdir(parents=True)
        (folder / "a.html").write_text(HTML.format(*words), encoding="utf8")
    found = sources.handbook("debian-handbook", tmp_path, ["en", "fa", "ar"])
    assert [(row["en"], row["fa"]) for row in found.units] == [("Heading", "عنوان"), ("One two end", "یک دو end"), ("Three", "سه")]
    assert {row["group"] for row in found.units} == {"debian-handbook/a"}
    assert {"heading": "عنوان", "passage": "یک دو end"}.items() <= found.sections[1].items()


def test_packed_table_with_alias_and_binary(tmp_path):
    strings = ["سلام".encode(), b"\x8b\xff"]
    start = 12 + 6 * 3 + 4
    offsets = [start, start + len(strings[0]), start + sum(map(len, strings))]
    header = struct.pack("<IB3xHH", 5, 1, 2, 1)
    table = b"".join(struct.pack("<HI", number, offset) for number, offset in zip((10, 11, 0), offsets))
    (tmp_path / "fa.pak").write_bytes(header + table + struct.pack("<HH", 12, 0) + b"".join(strings))
    assert sources.packed(tmp_path / "fa.pak") == {10: "سلام", 12: "سلام"}
    (tmp_path / "old.pak").write_bytes(struct.pack("<IB3xHH", 4, 1, 0, 0))
    with pytest.raises(sources.SourceError, match="version 4"):
        sources.packed(tmp_path / "old.pak")


def test_strings_are_grouped_by_their_english():
    first = sources.unit("a", "Open <b>12</b> files", {"fa": "۱۲ پرونده"})
    assert first["group"] == sources.unit("b", "open 7 files", {})["group"] == "string/open 0 files"


def test_catalogues_of_each_layout_without_menu_marks(tmp_path):
    book = polib.POFile()
    book.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    book.append(polib.POEntry(msgid="_Save the file", msgstr="_ذخیره‌ی پرونده", msgctxt="menu"))
    book.append(polib.POEntry(msgid="Set user_name", msgstr="نام کاربر را بگذارید"))
    book.append(polib.POEntry(msgid="Guessed", msgstr="حدس", flags=["fuzzy"]))
    for place in ("usr/share/locale/fa/LC_MESSAGES/a.mo", "languages/admin-fa.mo", "app/locale/fa/LC_MESSAGES/b.po",
                  "usr/share/locale/de/LC_MESSAGES/a.mo"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (book.save_as_mofile if place.endswith(".mo") else book.save)(str(tmp_path / place))
    found = [(row["en"], row["fa"]) for row in sources.gettext("x", tmp_path, ["en", "fa"]).units]
    assert sorted(set(found)) == [("Save the file", "ذخیره‌ی پرونده"), ("Set user_name", "نام کاربر را بگذارید")]
    assert len(found) == 6 and not sources.gettext("x", tmp_path, ["en", "ur"]).units


def test_catalogues_are_aligned_over_further_languages(tmp_path):
    texts = {"fa": {"Save": "ذخیره", "Open": "باز کردن"}, "tr": {"Save": "Kaydet"}, "zh_Hans": {"Open": "打开"}}
    for code, strings in texts.items():
        book, file = polib.POFile(), tmp_path / f"app/locale/{code}/LC_MESSAGES/django.po"
        book.extend(polib.POEntry(msgid=english, msgstr=string) for english, string in strings.items())
        file.parent.mkdir(parents=True)
        book.save(str(file))
    units = sources.multiway("x", tmp_path, ["en", "fa", "tr", "zh"]).units
    assert [{code: unit[code] for code in ("fa", "tr", "zh") if code in unit} for unit in units] == [
        {"fa": "ذخیره", "tr": "Kaydet"}, {"fa": "باز کردن", "zh": "打开"}]


FLUENT = """# a comment = left out
menu-save =
    .label = ذخیره در { -brand }
    .accesskey = s
long = نخست
    و سپس
plain.key=خط اول\\nخط دوم
"""


def test_strings_that_a_zip_of_fluent_files_assigns(tmp_path):
    with zipfile.ZipFile(tmp_path / "langpack-fa@firefox.xpi", "w") as pack:
        pack.writestr("a/menu.ftl", FLUENT)
        pack.writestr("manifest.json", "{}")
    units = sources.firefox("x", tmp_path, ["en", "fa"]).units
    assert [row["fa"] for row in units] == ["ذخیره در { -brand }", "s", "نخست و سپس", "خط اول خط دوم"]
    assert {row["group"] for row in units} == {"string/x/a/menu.ftl"}
    assert not sources.firefox("x", tmp_path, ["en", "de"]).units


@pytest.mark.parametrize("language, available, wanted", [("fa", ["fa-IR", "fa"], "fa"), ("zh", ["zh-TW", "zh-CN"], "zh-CN"),
                                                         ("en", ["fa", "C"], "C"), ("de", ["de_DE"], "de_DE"), ("ur", ["fa"], None)])
def test_locale_names(language, available, wanted):
    assert sources.locale(language, available) == wanted


def test_dialogues_pair_each_line_with_the_next(tmp_path):
    folder = tmp_path / "chatterbot_corpus/data/english"
    folder.mkdir(parents=True)
    (folder / "a.yml").write_text("conversations:\n- [Hi, Hello, Bye]\n", encoding="utf8")
    (folder / "humor.yml").write_text("conversations:\n- [rude, words]\n", encoding="utf8")
    found = sources.chatterbot("chatterbot-corpus", tmp_path, ["en", "fa"]).dialogues
    assert [(row["prompt"], row["reply"]) for row in found] == [("Hi", "Hello"), ("Hello", "Bye")]


def _own(path, **options):
    return [row["de"] for row in sources.own(path, "de", **options).units]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_own_files_of_each_kind(tmp_path, suffix, packed):
    texts, plain = ["Guten Tag.", "Auf Wiedersehen."], tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        pandas.DataFrame({"body": texts}).to_parquet(plain)
    else:
        lines = [json.dumps({"body": line}) for line in texts] if suffix == ".jsonl" else texts
        plain.write_text("\n".join(lines), encoding="utf8")
    if packed:
        (tmp_path / f"mine{suffix}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert _own(tmp_path / f"mine{suffix}{'.gz' if packed else ''}", column="body") == texts


def test_blank_lines_part_documents_and_lines_stay_in_their_group(tmp_path):
    (tmp_path / "a.txt").write_text("eins\nzwei\n\ndrei", encoding="utf8")
    units = sources.own(tmp_path / "a.txt", "de").units
    assert [(row["de"], row["group"]) for row in units] == [("eins", "a.txt/0"), ("zwei", "a.txt/0"), ("drei", "a.txt/1")]


def test_limit_stops_reading(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(["zehn Zeich"] * 50), encoding="utf8")
    assert len(_own(tmp_path / "a.txt", limit=25)) == 3


@pytest.mark.parametrize("name, content, message", [
    ("a.txt", b"", "holds no text"), ("a.txt", b"\x00\x01binary", "is binary"),
    ("a.txt", "سلام".encode("cp1256"), "not UTF-8: byte 0xd3 at position 0.*iconv"), ("a.doc", b"x", "unknown kind '.doc'"),
    ("a.jsonl", b'{"other": "x"}', "no column 'text', only other"), ("a.jsonl", b"{", "line 1 is not JSON"),
    ("a.parquet", b"nonsense", "not a readable parquet"), ("a.txt.gz", b"nonsense", "not a whole gzip"),
    ("a.jsonl", b"", "holds no text")])
def test_unreadable_files_say_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sources.SourceError, match=message):
        sources.own(tmp_path / name, "fa")


def test_missing_file_and_unknown_source():
    with pytest.raises(sources.SourceError, match="no file"):
        sources.own("/nowhere/a.txt", "fa")
    with pytest.raises(sources.SourceError, match="no source 'nope'; choose from debian-handbook"):
        sources.read("nope", ["en", "fa"])


def test_hub_data_set_is_read_like_ones_own_files(tmp_path, monkeypatch):
    pandas.DataFrame({"text": ["یک متن", "متن دوم"]}).to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(sources.assets, "hub", lambda *_: tmp_path)
    units = sources.hub("org/name@abc", "fa", "text", "*.parquet").units
    assert [row["fa"] for row in units] == ["یک متن", "متن دوم"] and units[0]["source"] == "org/name"
    with pytest.raises(sources.SourceError, match="corpus_pattern"):
        sources.hub("org/name@abc", "fa", "text", "*.txt")
