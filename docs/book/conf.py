"""Sphinx's settings of the book, whose pages lib/exhibits/book.py lays out. Nothing is executed or fetched."""
from latex2mathml.converter import convert

from lib.engine import paths, repository

STATIC = paths.ROOT / "docs/book/static"
project = "Persian LLM companion"
extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
html_theme, html_title, html_show_copyright, html_show_sphinx = "sphinx_book_theme", project, False, False
html_static_path, html_css_files, html_favicon = [str(STATIC)], ["book.css"], str(STATIC / "icon.svg")
html_context = {"default_mode": "auto"}
html_theme_options = {"repository_url": repository.url(), "repository_branch": repository.BRANCH, "path_to_docs": "",
                      "use_repository_button": True, "navbar_persistent": [],
                      "launch_buttons": {"colab_url": "https://colab.research.google.com"}}
html_math_renderer = "mathml"  # which browsers show without a script


def setup(app):
    """Formulas as MathML."""
    def show(display):
        def visit(translator, node):
            from docutils.nodes import SkipNode
            translator.body.append(convert(node.astext(), display=display))
            raise SkipNode
        return visit, None
    app.add_html_math_renderer("mathml", show("inline"), show("block"))
