"""The book's pages: executed notebooks as they are, tables whole, and no link that leads nowhere. Sphinx is not needed."""
import base64
import io
import json
import re
import shutil
import sys

import nbformat
import pytest
from PIL import Image

from lib.engine import paths, records, run
from lib.exhibits import book, executed

LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
INDEX = ("# Tables and figures of the profile `smoke`\n\n### F\n\n![F](F.png)\n\n[pdf](F.pdf) · [png](F.png) · "
         "[csv](F.csv)\n\n### T\n\n[md](tables/T.md) · [csv](tables/T.csv) · [tex](tables/T.tex)\n")


def _executed(chapter, **papermill):
    """Writes the notebook that papermill left of a chapter: its own cells, with an output each."""
    notebook = nbformat.read(paths.notebook(chapter), as_version=4)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [nbformat.v4.new_output("stream", text="seen in the run\n")]
    notebook.metadata["papermill"] = papermill
    nbformat.write(notebook, paths.run("smoke", chapter) / "notebook.ipynb")


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """(pages, chapters without a run) of a profile in which 01 has run, 02 has stopped, and two exhibits are made."""
    output = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_OUTPUT", str(output))
        _executed("01_corpus")
        _executed("02_tokenizer", exception=True)
        figures = output / "figures/smoke"
        (figures / "tables").mkdir(parents=True)
        for name in ("F.png", "F.pdf", "F.csv", "tables/T.tex"):
            (figures / name).touch()
        (figures / "README.md").write_text(INDEX)
        (figures / "tables/T.md").write_text("**T. Pieces & tokens** 3 are &lt;bytes&gt;.\n\n| piece |\n| --- |\n| … |\n")
        (figures / "tables/T.csv").write_text("piece,n\n" + "<bytes>,1\nکتاب‌ها,2\n" * 10)
        yield output / "pages", book.layout("smoke", output / "pages")


def _cells(folder, chapter):
    notebook = nbformat.read(folder / f"notebooks/{chapter}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def test_a_page_is_the_notebook_as_it_was_executed_without_what_colab_needs(laid):
    folder, lacking = laid
    cells = _cells(folder, "01_corpus")
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert "01_corpus" not in lacking and all(cell.outputs[0].text == "seen in the run\n" for cell in code)
    assert re.match(r"# 01 .*\n\nWhat a model", cells[0].source) and "Colab" not in cells[0].source
    assert not any("bootstrap" in cell.metadata.get("tags", []) for cell in cells)


def test_a_chapter_that_stopped_or_never_ran_says_so_and_has_no_outputs(laid):
    folder, lacking = laid
    assert lacking == run.chapters()[1:]
    for chapter in ("02_tokenizer", "05_sft"):
        cells = _cells(folder, chapter)
        assert "has no finished run in the profile `smoke`" in cells[0].source
        assert not any(cell.get("outputs") for cell in cells)


def test_a_table_has_all_rows_escaped_and_each_text_in_its_direction(laid):
    page = (laid[0] / "figures/smoke/tables/T.md").read_text(encoding="utf8")
    assert page.startswith("# T. Pieces & tokens\n\n3 are &lt;bytes&gt;.\n\n<details open>")
    assert page.endswith("[csv](T.csv)\n")
    assert page.count("&lt;bytes&gt;</td>") == 10 and "<bytes>" not in page
    assert page.count('<bdi dir="rtl">کتاب‌ها</bdi>') == 10


def test_every_link_of_a_page_and_every_entry_of_the_contents_leads_somewhere(laid):
    folder, pages = laid[0], [*laid[0].rglob("*.md"), *laid[0].rglob("*.ipynb")]
    for page in pages:
        text = page.read_text(encoding="utf8")
        texts = [text] if page.suffix == ".md" else ["".join(cell["source"]) for cell in json.loads(text)["cells"]
                                                     if cell["cell_type"] == "markdown"]
        for link in (link for text in texts for link in LINK.findall(text)):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.relative_to(folder)}: {link}"
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.S) if page.suffix == ".md" else []:
            entries = [line for line in tree.split("\n") if line and not line.startswith(":")]
            assert entries and all(list(page.parent.glob(f"{entry}.*")) for entry in entries)


def test_the_contents_name_every_chapter_the_figures_the_ledger_and_the_glossary(laid):
    text = (laid[0] / "index.md").read_text(encoding="utf8")
    wanted = [*(f"notebooks/{chapter}" for chapter in run.chapters()), "figures/smoke/README", "figures/night/README",
              f"figures/night/tables/{book.LEDGER}", "docs/glossary"]
    assert not [name for name in wanted if f"\n{name}\n" not in text]
    assert book.BADGE not in text


def test_without_its_packages_it_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sphinx.cmd", None)
    assert book.main(["smoke"]) == 1
    assert "`make book` installs them" in capsys.readouterr().err


def test_nothing_that_the_pages_load_lies_elsewhere():
    for file in (book.CONF / "static").iterdir():
        assert not re.search(r"(url\(|src=|href=)[\"']?http", file.read_text(encoding="utf8"))


def test_an_executed_notebook_says_what_came_out_and_not_how_far_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    _executed("01_corpus", parameters={})
    place = paths.run("smoke", "01_corpus") / run.EXECUTED
    notebook = nbformat.read(place, as_version=4)
    shown = next(cell for cell in notebook.cells if cell.cell_type == "code")
    said = [("stdout", "a: 12 texts\n\nstep 7/50: loss 2.743, 159 tokens/s, 62 s left\nstep 50/50: loss 1.518, 176 tokens/s, 0 s left\n"),
            ("stderr", "Loading: 100%|███| 9/9\nno licence\n"), ("stderr", "Loading: 100%|███| 3/3\n")]
    shown.outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in said]
    shown.outputs.insert(1, nbformat.v4.new_output("display_data", {"text/plain": "a figure"}))
    nbformat.write(notebook, place)
    found = next(cell for cell in executed.find("smoke", "01_corpus")["cells"] if cell["cell_type"] == "code")["outputs"]
    assert [output.get("text", "a figure") for output in found] == [
        "a: 12 texts\n\nstep 50/50: loss 1.518, 176 tokens/s, 0 s left\n", "a figure", "no licence\n"]


def test_a_kept_notebook_takes_the_prose_of_today_while_its_code_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    for chapter in ("01_corpus", "02_tokenizer"):
        place = executed.kept("smoke", chapter)
        place.parent.mkdir(parents=True, exist_ok=True)
        notebook = nbformat.read(paths.notebook(chapter), as_version=4)
        notebook.cells[0].source = "Prose of yesterday."
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        next(cell for cell in code if "parameters" in cell.metadata.get("tags", [])).source += "\n# of yesterday"
        code[0].outputs = [nbformat.v4.new_output("stream", text="seen\n")]
        code[-1].source += "\n1" * (chapter == "02_tokenizer")
        nbformat.write(notebook, place)
    executed.retell("smoke")
    first, second = (nbformat.read(executed.kept("smoke", name), as_version=4).cells for name in ("01_corpus", "02_tokenizer"))
    assert first[0].source.startswith("# 01") and second[0].source == "Prose of yesterday."
    assert next(cell for cell in first if cell.cell_type == "code").outputs[0].text == "seen\n"
    before = executed.kept("smoke", "01_corpus").read_bytes()
    executed.retell("smoke")
    assert executed.kept("smoke", "01_corpus").read_bytes() == before


def test_what_a_run_left_is_kept_small_and_shown_where_nothing_has_run(tmp_path, monkeypatch):
    """As figures/night has it: without this machine's folders, pictures of few colours, links that hold from there."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    _executed("01_corpus", input_path=str(tmp_path), parameters={"seed": 0})
    _executed("02_tokenizer", exception=True)
    _executed("03_pretraining", parameters={"main_runs": 1})
    place = paths.run("smoke", "01_corpus") / run.EXECUTED
    notebook = nbformat.read(place, as_version=4)
    drawn, line, picture = Image.radial_gradient("L").convert("RGB"), (0, 158, 115), io.BytesIO()
    drawn.paste(line, (9, 9, 10, 90))
    drawn.save(picture, "png", compress_level=0)
    picture = base64.b64encode(picture.getvalue()).decode()
    shown = next(cell for cell in notebook.cells if cell.cell_type == "code")
    shown.outputs = [nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "a figure"})]
    notebook.cells.append(nbformat.v4.new_markdown_cell("See [the glossary](../docs/glossary.md)."))
    nbformat.write(notebook, place)
    for chapter, parameters in {"01_corpus": {"seed": 0}, "03_pretraining": {"main_runs": 3}}.items():
        records.write_json(run.record("smoke", chapter), {"parameters": parameters, "environment": {"dirty": False}})
    assert executed.keep("smoke", ["01_corpus", "02_tokenizer", "03_pretraining"]) == ["01_corpus"], "02 stopped, and 03 was trained in part to go on elsewhere"
    text = executed.kept("smoke", "01_corpus").read_text(encoding="utf8")
    made = nbformat.reads(text, as_version=4)
    nbformat.validate(made)
    assert str(tmp_path) not in text and "papermill" not in text and "(../../../docs/glossary.md)" in text
    kept = next(cell for cell in made.cells if cell.cell_type == "code").outputs[0].data["image/png"]
    seen = Image.open(io.BytesIO(base64.b64decode(kept))).convert("RGB").getpixel((9, 50))
    assert len(kept) < len(picture) and max(abs(a - b) for a, b in zip(seen, line)) < 13
    shutil.rmtree(paths.runs("smoke"))
    page, finished = book.notebook("smoke", "01_corpus")
    assert finished and page["cells"][-1]["source"] == notebook.cells[-1].source
    assert not book.notebook("smoke", "03_pretraining")[1]
