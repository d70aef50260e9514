"""How much of the web is written in a language, and the resource level that follows from it."""
import functools

import pandas

from lib.engine import paths

# Least share of the web's pages in %: the levels of Lai et al. 2023 (arXiv 2304.05613), their two lowest taken as one.
BOUNDS = {"high": 1.0, "mid": 0.1, "low": 0.0}
FEWEST = 3  # languages for a line through them: through two points there is one, whatever they are


@functools.cache
def shares() -> pandas.Series:
    """Share of Common Crawl's pages by language code, in % (`reported/common_crawl.csv`)."""
    frame = pandas.read_csv(paths.REPORTED / "common_crawl.csv", keep_default_na=False)
    return frame.set_index("language")["value"]


def share(language: str) -> float:
    """The language's share in %; NaN where the file has none (add it there, with where it is from)."""
    return float(shares().get(language, float("nan")))


def level(language: str) -> str:
    """`high`, `mid` or `low`, by the language's share; `unknown` where that is."""
    own = share(language)
    return next((name for name, bound in BOUNDS.items() if own >= bound), "unknown")
