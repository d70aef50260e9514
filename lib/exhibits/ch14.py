"""Exhibits of the papers: what they report, what of it adds up, ours beside it, and the ledger of claims."""
import pandas

from lib.engine import params, paths
from lib.exhibits import audit, claims
from lib.exhibits.base import figure, reported, table
from lib.exhibits.panels import COLUMN, PALETTE, axes
from lib.exhibits.units import in_print, interval

PROFILES = ("paper", "laptop")
# Colour and marker both tell the verdict, so that either suffices.
LOOKS = {claims.SUPPORTED: (PALETTE[0], "o"), claims.REFUTED: (PALETTE[1], "X"), claims.NONE: (PALETTE[2], "s"),
         claims.UNDECIDED: ("0.45", "D")}
PRINTED = ["id", "paper", "verdict", "test", "effect", "expected", "margin", "n", "trainings", "least", "test verdict",
           "remark"]


@table("P1-T2", "14_paper", "Settings of Llama-Persian's scripts beside this companion's")
def settings(profile: str):
    """One row a setting; for each stage the script's value and the parameter of ours in the profiles `PROFILES`."""
    rows = reported("P1-T2").query("system in ['pretraining', 'SFT'] and printed != ''")
    rows = rows.rename(columns={"printed": "script"})
    for name in PROFILES:
        rows[name] = [_parameter(name, key) for key in rows["ours"]]
    wide = rows.pivot(index=["quantity", "unit"], columns="system", values=["script", *PROFILES]).fillna("")
    wide = wide.reindex(pandas.MultiIndex.from_frame(rows[["quantity", "unit"]].drop_duplicates()))
    frame = pandas.DataFrame({f"{stage}: {source}": wide[source, stage] for stage in rows["system"].unique()
                              for source in ("script", *PROFILES)}).reset_index()
    shared = rows[rows["paper"] != ""]
    other = [f"{row.system} {row.quantity}" for row in shared.itertuples() if not _same(row.script, row.paper)]
    return frame, (f"{len(shared) - len(other)} of the {len(shared)} settings that are parameters here have the "
                   f"script's value in the profile `paper`; the others: {', '.join(other) or 'none'}.")


@table("P1-A1", "14_paper", "Hazards for a repetition in Llama-Persian's released scripts")
def hazards(profile: str):
    """Each hazard with the file it is in, how it was found, and what this companion does instead."""
    frame = pandas.read_csv(paths.REPORTED / "hazards.csv", keep_default_na=False)
    how = ", ".join(f"{count} {way}" for way, count in frame["found"].value_counts().items())
    files = frame["file"].str.split(", ").explode().nunique()
    return frame, (f"{len(frame)} hazards in {files} files of "
                   f"samin-mehdizadeh/llama-persian-adaptation@5c54bd4 ({how}); the data's faults stay as released.")


@table("P3-A1", "14_paper", "Printed averages, sums, shares and claims, made again")
def arithmetic(profile: str):
    """Every derived number of the papers beside what its parts give (`audit.recompute`); those that fail come first."""
    frame = audit.recompute(reported()).sort_values("agrees", kind="stable")
    wrong = frame[~frame["agrees"]]
    frame.attrs["rows"] = len(wrong)
    return frame, (f"{len(frame) - len(wrong)} of {len(frame)} agree within half a unit of the last printed digit of "
                   f"the result and of its parts; {len(wrong)} in {wrong['table'].nunique()} places do not, and are printed.")


@table("P3-T3", "14_paper", "Settings as stated against the released scripts")
def stated_and_released(profile: str):
    """Each setting that a paper (or a summary of it) and a script name, where they differ, and where one is silent."""
    rows = reported().query("group in ['paper', 'script']").rename(columns={"paper": "work"})
    keys = ["work", "system", "quantity", "unit"]
    frame = rows.pivot(index=keys, columns="group", values="printed").fillna("").rename_axis(columns=None)
    frame = frame.reindex(pandas.MultiIndex.from_frame(rows[keys].drop_duplicates())).reset_index()
    frame = frame[(frame["paper"] != "") & (frame["script"] != "")].rename(columns={"paper": "stated"})
    frame["same"] = [_same(*pair) for pair in zip(frame["stated"], frame["script"])]
    other = [f"{row.system} {row.quantity}" for row in frame[~frame["same"]].itertuples()]
    return frame, f"{len(other)} of {len(frame)} settings that both name differ: {'; '.join(other)}."


def _parameter(profile: str, key: str) -> str:
    """A parameter of ours, named `chapter/name`, as it is printed; empty for an empty key."""
    if not key:
        return ""
    chapter, _, name = key.partition("/")
    value = params.load(profile, chapter)[name]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same(a: str, b: str) -> bool:
    """Whether two printed values are one: as numbers where both are, else as texts."""
    numbers = pandas.to_numeric(pandas.Series([a, b]), errors="coerce")
    return bool(numbers[0] == numbers[1] if numbers.notna().all() else a == b)


@table("C14-T3", "14_paper", "The papers' claims, and what the records say to them")
def ledger(profile: str):
    """One row a test under its claim's verdict: effect, what it had to be, margin, the least effect that could be seen.

    The columns PRINTED are printed; the CSV has the claim in words, why that margin, and the record it rests on as well.
    """
    found = claims.ledger(profile)
    rows = found.to_dict("records")
    frame = found.rename(columns={"label": "test", "test_verdict": "test verdict"}).assign(
        effect=["" if pandas.isna(row["value"]) else f"{interval(row)} {in_print(row['unit'])[2]}" for row in rows],
        expected=[expected(row) for row in rows],
        record=found["chapter"] + ": " + found["metric"] + " (" + found["labels"] + ")",
        **{name: [_size(row, row[name]) for row in rows] for name in ("margin", "least")},
        **{name: ["" if pandas.isna(number) else f"{number:.0f}" for number in found[name]] for name in ("n", "trainings")})
    frame = frame[[*PRINTED, "claim", "why", "record"]]
    # What has no record comes last, so that it is what a printed table cuts.
    frame = frame.sort_values("test verdict", key=lambda said: said == claims.ABSENT, kind="stable").reset_index(drop=True)
    frame.attrs["printed"] = PRINTED
    return frame, reading(found)


@table("C14-T4", "14_paper", "The claims in words")
def in_words(profile: str):
    """One row a claim: what it says, what was done, what was seen, and the verdict, a sentence each."""
    found = claims.ledger(profile)
    groups = [(tests.iloc[0], tests.to_dict("records")) for _, tests in found.groupby("id", sort=False)]
    return pandas.DataFrame([{"id": first["id"], "claim": f"{first['claim']} ({first['paper']})",
                              "what was done": _joined(_done, tests), "what was seen": _joined(_seen, tests),
                              "verdict": _verdict(first["verdict"], tests)}
                             for first, tests in groups]), reading(found)


def _joined(say, tests: list[dict]) -> str:
    """What `say` says of every test, in one sentence and each thing once."""
    text = "; ".join(dict.fromkeys(say(test) for test in tests))
    return f"{text[:1].upper()}{text[1:]}."


def _done(test: dict) -> str:
    counts = [f"{test[name]:.0f} {word}{'s' * (test[name] != 1)}"
              for name, word in (("n", "item"), ("trainings", "training")) if pandas.notna(test[name])]
    return ", ".join([f"{test['label']} (chapter {test['chapter'][:2]})", *counts])


def _seen(test: dict) -> str:
    if test["test_verdict"] == claims.ABSENT:
        return f"nothing: {test['remark']}"
    return f"{interval(test)} {in_print(test['unit'])[2]}, claimed {expected(test)}"


def _verdict(verdict: str, tests: list[dict]) -> str:
    """A claim's verdict as a sentence: of what size no effect is, and why it is undecided."""
    own = [test for test in tests if claims.decides(test)]
    if verdict == claims.NONE:
        return _joined(lambda test: verdict.replace("above its margin", f"above {_size(test, test['margin'])}"), own)
    if verdict != claims.UNDECIDED:
        return f"{verdict.capitalize()}."
    return f"{verdict.capitalize()}: " + "; ".join(dict.fromkeys(
        test["remark"] + (f", least effect to be seen {_size(test, test['least'])}" if _size(test, test["least"]) else "")
        for test in own)) + "."


def reading(found: pandas.DataFrame) -> str:
    """How many claims have which verdict, and what a verdict rests on."""
    return (f"{counted(found)}; a verdict rests on the whole 95 % interval (97 % at a second look) and a margin fixed "
            "beforehand, uncorrected for the number of claims (demonstration scale).")


def counted(found: pandas.DataFrame) -> str:
    """How many claims have which verdict."""
    verdicts = found.drop_duplicates("id")["verdict"]
    counts = ", ".join(f"{(verdicts == verdict).sum()} {verdict}" for verdict in claims.VERDICTS)
    return f"Of {len(verdicts)} claims {counts}"


def expected(row) -> str:
    """What a test wants as a reader would say it: `> 0`, `< 0.020 bits/byte`, `within ±5.0 points`."""
    bound, margin = _size(row, row["bound"]) if row["bound"] else "0", _size(row, row["margin"])
    return {"above": f"> {bound}", "below": f"< {bound}", "within": f"within ±{margin}", "not above": f"< {margin}",
            "not below": f"> -{margin}"}[row["expect"]]


def _size(row, number: float) -> str:
    """A number in the row's unit of print, as it is without a record; empty where it is not known."""
    if pandas.isna(number) or pandas.isna(row["unit"]):
        return "" if pandas.isna(number) else f"{number:g}"
    factor, digits, unit = in_print(row["unit"])
    return f"{factor * number:.{digits}f} {unit}"


@figure("C14-F1", "14_paper", "Effects behind the papers' claims")
def claims_forest(profile: str):
    """One row a claim, with a line a test that has a record, in margins and turned so that the claim lies to the right."""
    found = claims.ledger(profile)
    frame = found[found["test_verdict"] != claims.ABSENT].reset_index(drop=True)
    if frame.empty:
        raise FileNotFoundError(f"No claim has a record in profile {profile}: run chapter 02_tokenizer or a later one.")
    ends = [sorted(claims.towards(row[name], row) for name in ("low", "value", "high")) for row in frame.to_dict("records")]
    frame[["from", "at", "to"]] = ends  # in margins
    papers, named = frame["paper"].nunique(), frame["id"].nunique()
    drawing, panel = axes(1, 1, COLUMN, 1 + 0.125 * len(frame) + 0.06 * named + 0.2 * papers)
    panel.set_xscale("symlog", linthresh=1)
    reach, place = max(2, 1.3 * frame[["from", "to"]].abs().max(axis=None)), 0
    for paper, part in frame.groupby("paper", sort=False):
        panel.annotate(paper, (0.02, place), xycoords=panel.get_yaxis_transform(), va="center", fontsize=6, weight="bold",
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        place += 1.1
        for name, tests in part.groupby("id", sort=False):
            _row(panel, place, name, tests, reach)
            place += len(tests) + 0.5
        place += 0.4
    for edge in (-1, 0, 1):
        panel.axvline(edge, color="0.3", linewidth=0.7, linestyle=":" if edge else "-", zorder=0)
    panel.set(xlim=(-reach, reach), ylim=(place, -1), yticks=[], xlabel="effect in margins (as claimed →)")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.annotate("items ×\ntrainings", (1.02, 0), xycoords=panel.get_yaxis_transform(), va="center", fontsize=5,
                   color="0.35")
    _legend(drawing, frame)
    return drawing, frame, reading(found)


def _row(panel, top: float, name: str, tests, reach: float):
    """A claim's name and verdict, and below each other its tests: claimed side, interval, items × trainings."""
    across, middle = panel.get_yaxis_transform(), top + (len(tests) - 1) / 2
    for place, test in enumerate(tests.to_dict("records")):
        start, end = claims.claimed(test["expect"])
        panel.fill_betweenx([top + place - 0.45, top + place + 0.45], start, min(end, reach), color=PALETTE[5], alpha=0.25,
                            linewidth=0)
        colour, marker = LOOKS[test["test_verdict"]]
        panel.errorbar(test["at"], top + place, xerr=[[test["at"] - test["from"]], [test["to"] - test["at"]]], color=colour,
                       fmt=marker, markersize=3, linewidth=0.9, capsize=1.5)
        counts = [f"{test[name]:.0f}" for name in ("n", "trainings") if pandas.notna(test[name])]
        panel.annotate(" × ".join(counts), (1.02, top + place), xycoords=across, va="center", fontsize=5, color="0.35")
    colour, marker = LOOKS[tests["verdict"].iloc[0]]
    panel.plot(-0.04, middle, marker, transform=across, clip_on=False, color=colour, markersize=4)
    panel.annotate(name, (-0.08, middle), xycoords=across, ha="right", va="center", fontsize=6)


def _legend(drawing, frame):
    """A key for the verdicts that occur, and for the shading."""
    shown = [verdict for verdict in LOOKS if verdict in {*frame["test_verdict"], *frame["verdict"]}]
    first = drawing.axes[0]
    handles = [first.plot([], [], LOOKS[verdict][1], color=LOOKS[verdict][0], label=verdict)[0] for verdict in shown]
    handles.append(first.fill_between([], [], color=PALETTE[5], alpha=0.25, label="claimed side"))
    drawing.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=6)
