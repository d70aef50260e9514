"""The ledger of the papers' claims as a forest plot."""
from lib import claims
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.claims import UNITS, reading

# Colour and marker both tell the verdict, so that either suffices.
LOOKS = {claims.SUPPORTED: (PALETTE[0], "o"), claims.REFUTED: (PALETTE[1], "X"), claims.UNDECIDED: ("0.45", "D")}


@figure("C14-F1", "14_paper", "Effects behind the papers' claims")
def claims_forest(profile: str):
    """One line a test that has a record, a panel a unit; the shaded side is where a claim wants the whole interval."""
    found = claims.ledger(profile)
    frame = found[found["test_verdict"] != claims.ABSENT].reset_index(drop=True)
    if frame.empty:
        raise FileNotFoundError(f"No claim has a record in profile {profile}: run chapter 02_tokenizer or a later one.")
    groups = [part.iloc[::-1] for _, part in frame.groupby("unit", sort=False)]
    sizes = [len(part) for part in groups]
    drawing, panels = axes(len(sizes), 1, WIDE, 0.75 + 0.5 * len(sizes) + 0.3 * sum(sizes), squeeze=False,
                           gridspec_kw={"height_ratios": [size + 0.4 for size in sizes]})
    for panel, part in zip(panels.flat, groups):
        _panel(panel, part)
    _legend(drawing, frame)
    return drawing, frame, reading(found)


def _panel(panel, part):
    """The tests of one unit, each with its interval, its claimed side and its n."""
    factor, _, unit = UNITS.get(part["unit"].iloc[0], (1, 3, part["unit"].iloc[0]))
    for place, row in enumerate(part.to_dict("records")):
        colour, marker = LOOKS[row["test_verdict"]]
        value, low, high = (factor * row[name] for name in ("value", "low", "high"))
        panel.errorbar(value, place, xerr=[[value - low], [high - value]], color=colour, marker=marker, markersize=5,
                       capsize=2.5)
    left, right = _limits(panel, factor * part["bound"], part["expect"])
    for place, row in enumerate(part.to_dict("records")):
        _claimed_side(panel, place, row["expect"], factor * row["bound"], left, right)
        panel.annotate(f"n = {row['n']:.0f}", (1, place), (3, 0), xycoords=("axes fraction", "data"),
                       textcoords="offset points", va="center", fontsize=6, color="0.35")
    panel.set_yticks(range(len(part)), part["id"] + "\n" + part["label"], fontsize=6.5)
    panel.set(xlim=(left, right), ylim=(-0.6, len(part) - 0.4), xlabel=unit)
    panel.tick_params(axis="y", length=0)


def _limits(panel, bounds, expect) -> tuple[float, float]:
    """Room for every interval and bound, and a little beyond."""
    places = [*bounds, *(-bounds[expect == "within"]), *panel.dataLim.intervalx]
    margin = 0.08 * (max(places) - min(places))
    return min(places) - margin, max(places) + margin


def _claimed_side(panel, place: int, expect: str, bound: float, left: float, right: float):
    start, end = {"above": (bound, right), "below": (left, bound), "within": (-bound, bound)}[expect]
    panel.fill_betweenx([place - 0.36, place + 0.36], start, end, color=PALETTE[5], alpha=0.25, linewidth=0)
    for edge in {start, end} - {left, right}:
        panel.plot([edge, edge], [place - 0.36, place + 0.36], color="0.3", linewidth=0.9)


def _legend(drawing, frame):
    """A key for the verdicts that occur, and for the shading."""
    shown = [verdict for verdict in LOOKS if verdict in set(frame["test_verdict"])]
    first = drawing.axes[0]
    handles = [first.plot([], [], LOOKS[verdict][1], color=LOOKS[verdict][0], label=verdict)[0] for verdict in shown]
    handles.append(first.fill_between([], [], color=PALETTE[5], alpha=0.25, label="claimed side of the bound"))
    drawing.legend(handles=handles, loc="outside upper center", ncols=len(handles))
