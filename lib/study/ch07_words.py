"""Choice tasks taught and asked by the words of their options: few rows teach a small model no letters."""
import functools
from pathlib import Path

import pandas

from lib.data import prompts
from lib.engine import keys
from lib.evaluate import benchmarks, harness, measure, scoring
from lib.study import ch07_stages as stages
from lib.study import tuning

BETWEEN = " / "  # options, as a question lists them


def among(rows: pandas.DataFrame, tasks: list[str]) -> pandas.DataFrame:
    """The rows of the tasks named, all where none is; ValueError when there are no such rows."""
    found = rows[rows["task"].isin(tasks or rows["task"])]
    if found.empty:
        raise ValueError(f"There is no task row of {', '.join(tasks)}: name some of {', '.join(sorted(set(rows['task'])))}.")
    return found


def worded(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Task rows, those with options as rows of a dialogue: question, text and options; the right one is the answer."""
    told = [row if row["task"] in prompts.PHRASES else
            {**row, "task": "dialogue", "text": _question(row), "answer": row["choices"][int(row["answer"])]}
            for row in rows.to_dict("records")]
    return pandas.DataFrame(told, rows.index, columns=rows.columns)


def score(run: stages.Run, folder: Path, asked: pandas.DataFrame, spoken: pandas.DataFrame, out: Path, style: str,
          max_new_tokens: int, batch_size: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """As `ch07_stages.score` has it of letters: `asked` rows by likelihood and `spoken` ones by generation, kept in `out`."""
    key = keys.of(__file__, run, folder, asked, spoken, style, max_new_tokens, batch_size)
    ready = functools.cache(lambda: tuning.ready(folder, style))

    def kept(name: str, make) -> pandas.DataFrame:
        return keys.kept(out / run.name / f"{name}-by-word.parquet", key, lambda: make(*ready()).assign(**run._asdict()))
    return (kept("likely", lambda *model: likely(*model, asked, batch_size)),
            kept("told", lambda *model: told(*model, spoken, max_new_tokens)) if len(spoken) else pandas.DataFrame())


def likely(model, tokenizer, rows: pandas.DataFrame, batch_size: int = 8) -> pandas.DataFrame:
    """As `tuning.score`: what an item is, its choices and chance, whether the likeliest option is `correct`, and `margin`: by
    how many bits a byte the right option is likelier than the others in the mean, over the options' mean bytes.

    What an option costs behind any question is not taken off: where every option is right equally often it cancels.
    """
    rows = rows.reset_index(drop=True)
    each = pandas.DataFrame([{**row, "answer": place, "row": number, "right": place == int(row["answer"])}
                             for number, row in enumerate(rows.to_dict("records")) for place in range(len(row["choices"]))])
    found = each[["row", "right"]].join(harness.gold(model, tokenizer, worded(each), batch_size))
    right, others = found[found["right"]].set_index("row"), found[~found["right"]].groupby("row")["bits"]
    size, count = found.groupby("row")["bytes"].mean(), rows["choices"].map(len)
    described = rows.rename(columns={"id": "item"})[["item", *tuning.KEPT]].assign(flagged=benchmarks.flagged(rows))
    return described.assign(choices=count, chance=1 / count, correct=right["bits"] < others.min(),
                            margin=(others.mean() - right["bits"]) / size)


def told(model, tokenizer, rows: pandas.DataFrame, max_new_tokens: int) -> pandas.DataFrame:
    """Greedy answers, read as `scoring.judge` reads those to the same rows; `generated`: a choice is right."""
    answers = measure.answer(model, tokenizer, worded(rows), max_new_tokens)["hypothesis"]
    return scoring.judge(rows, answers.tolist()).rename(columns={"correct": "generated"})


def _question(row: dict) -> str:
    asked = prompts.WORDING["questions"].get(row["task"], {}).get(row["language"])
    return "\n".join(filter(None, [asked, row["text"], BETWEEN.join(row["choices"])]))


FORMS = {"letter": (pandas.DataFrame.copy, stages.score), "word": (worded, score)}  # task rows in it, and how a run is scored
