"""What a notebook shows: whole tables, escaped text in its own direction, tokens, and the library's source."""
import re

import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell

from lib import exhibits
from lib.data import text
from lib.engine import markup, paths, records, repository, statistics
from lib.exhibits import lesson

PERSIAN = "من به خانه می‌روم"


def test_a_frame_is_shown_whole_without_index_and_each_script_in_its_direction():
    long = "word " * 100
    shown = markup.frame(pandas.DataFrame({"text": [PERSIAN, long, "<b> $5"], "value": [1 / 3, float("nan"), 2.0]}, index=[7, 8, 9]))
    assert f'<td style="text-align:right"><bdi dir="rtl">{PERSIAN}</bdi></td>' in shown
    assert long in shown and "…" not in shown and "..." not in shown and "<td style=\"text-align:right\">0.33333</td>" in shown
    assert "&lt;b&gt; $5" in shown and "mathjax_ignore" in shown
    assert not any(f">{place}<" in shown for place in (7, 8, 9)) and "nan" not in shown


def test_cells_of_lists_lines_and_mixed_text_are_readable():
    frame = pandas.DataFrame({"one": [["تهران", "قم"], f"Translate: {PERSIAN}\nEnglish words here, more of them than of the others"]})
    shown = markup.frame(frame)
    assert '<bdi dir="rtl">تهران · قم</bdi>' in shown
    assert f'Translate: <bdi dir="rtl">{PERSIAN}</bdi>' in shown or f'<bdi dir="rtl">Translate: {PERSIAN}</bdi>' in shown
    assert "<br>English words" in shown


def test_a_long_table_is_folded_away():
    assert markup.frame(pandas.DataFrame({"n": range(13)})).startswith("<details><summary>13 rows</summary>")
    assert "<details" not in markup.frame(pandas.DataFrame({"n": range(12)}))


def test_text_from_left_to_right_is_only_escaped():
    assert markup.directed("a < b & c") == "a &lt; b &amp; c"
    assert markup.directed("עברית") == '<bdi dir="rtl">עברית</bdi>'


def test_a_notebook_shows_frames_and_paths_so_and_nothing_happens_elsewhere():
    markup.settle()  # without a notebook
    shell = InteractiveShell.instance()
    try:
        markup.settle()
        data, _ = shell.display_formatter.format(pandas.DataFrame({"a": [PERSIAN]}))
        assert data["text/html"] == markup.frame(pandas.DataFrame({"a": [PERSIAN]}))
        assert shell.display_formatter.format(paths.ROOT / "lib")[0]["text/plain"] == "lib"
    finally:
        InteractiveShell.clear_instance()


def test_tokens_stand_in_the_texts_direction_with_spaces_and_zwnj_seen():
    shown = lesson.tokens([" می", "\u200c", "<bytes>", "<ZWNJ>", "روم"], below=[1, 2, 3, 4, 5], counted=[True, False, True, True, True])
    html = shown._repr_html_()
    assert html.startswith('<bdi dir="rtl"') and html.count("¬") == 2 and "␣می" in html and "&lt;bytes&gt;" in html
    assert html.count(lesson.GREY) == 1 and "<small>5</small>" in html
    assert "\u200c" not in html and repr(shown) == "␣می | ¬ | <bytes> | ¬ | روم"
    assert lesson.tokens(["The", " end"])._repr_html_().startswith('<bdi dir="ltr"')
    chat = lesson.tokens(["<user>", "\n", "پایتخت", " ایران", "\n", "<end>", "A", "\n"])._repr_html_()
    assert chat.count("⏎") == 3 and [part[:3] for part in chat.split('dir="')[1:]] == ["ltr", "rtl", "ltr"]
    with pytest.raises(ValueError):
        lesson.tokens(["a", "b"], below=[1])


def test_peek_shows_a_functions_own_source_and_where_it_is():
    shown = lesson.peek(text.normalise).data
    file, line, link = re.match(r"\[(\S+), line (\d+)\]\((\S+)\)\n\n", shown).groups()
    assert link == f"{repository.url()}/blob/main/{file}#L{line}", "right wherever the notebook was executed to"
    assert (paths.ROOT / file).read_text("utf8").split("\n")[int(line) - 1].startswith("def normalise")
    assert "```python\ndef normalise(string: str, language: str) -> str:\n    \"\"\"One spelling" in shown
    assert "@functools.cache\ndef rewriters" in lesson.peek(text.rewriters).data


def test_readings_are_the_sentences_of_a_chapters_exhibits(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("06_evaluation", {"profile": "smoke", "stages": ["base"]}, {"revision": "", "device": "cpu"})
    record.metric("bits_per_byte", statistics.mean([1.0, 2.0]), "bits/byte", stage="base", language="el")
    record.write(seconds=1.0)
    told = exhibits.readings("smoke", "06_evaluation")
    assert "P1-T5: " in repr(told) and "Not made here: " in repr(told) and "<li><b>P1-T5</b>: " in told._repr_html_()
