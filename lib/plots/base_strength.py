"""Figures of the base-strength chapter."""
from lib import records
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import need, span
from lib.tables.base_strength import CHAPTER, FILES, chances, measured


@figure("P1-F1b", CHAPTER, "Accuracy on the tests after each stage, by setting", FILES)
def test_accuracy(profile: str):
    """A panel a setting; per task a point a stage with its interval, bases by marker, and the level of chance."""
    found = need(measured(profile, "accuracy"))
    chance = chances(profile)
    frame = found[["base", "stage", "setting", "task", "language", "n", "value", "low", "high"]].copy()
    frame["chance"] = [chance[key] for key in zip(frame["setting"], frame["task"])]
    settings = list(frame["setting"].unique())
    drawing, panels = axes(1, len(settings), WIDE, 2.6, sharey=True, squeeze=False)
    for panel, setting in zip(panels.flat, settings):
        part = frame[frame["setting"] == setting]
        _points(panel, part)
        panel.set_title(f"{setting}, n = {span(part[part['task'] != 'all']['n'])} a task")
    panels[0, 0].set_ylabel("accuracy (%)")
    handles, names = panels[0, 0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside lower center", ncols=4)
    above = (frame["low"] > frame["chance"]).sum()
    return drawing, frame, (f"{above} of {len(frame)} scores lie above chance with their whole 95 % interval (n = "
                            f"{span(frame['n'])} items; dotted: chance; demonstration scale).")


def _points(panel, part):
    """Stages side by side within each task, in one panel."""
    tasks, series = list(part["task"].unique()), list(dict.fromkeys(zip(part["base"], part["stage"])))
    bases = list(part["base"].unique())
    stages = list(part["stage"].unique())
    for number, (base, stage) in enumerate(series):
        rows = part[(part["base"] == base) & (part["stage"] == stage)].set_index("task").loc[tasks]
        value, low, high = (100 * rows[column].to_numpy() for column in ("value", "low", "high"))
        at = [place + (number - (len(series) - 1) / 2) * 0.7 / len(series) for place in range(len(tasks))]
        name = stage if len(bases) == 1 else f"{base} {stage}"
        panel.errorbar(at, value, [(value - low).clip(0), (high - value).clip(0)], fmt="os^D"[bases.index(base) % 4],
                       capsize=1.5, color=PALETTE[stages.index(stage)], label=name, markersize=3, linewidth=0.9)
    for place, task in enumerate(tasks):
        level = 100 * part.loc[part["task"] == task, "chance"].iloc[0]
        panel.plot([place - 0.45, place + 0.45], [level, level], color="0.4", linestyle=":", linewidth=0.9)
    panel.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], rotation=20, ha="right",
                     rotation_mode="anchor")
    panel.set(ylim=(0, 100))


@figure("P1-F2b", CHAPTER, "Loss of task tuning from each stage", FILES)
def tuning_loss(profile: str):
    """One line a base and stage (LoRA, both languages), mean over seeds, running mean of three points."""
    rows = need(records.rows(profile, CHAPTER, "loss"))
    rows = rows[(rows["method"] == "lora") & (rows["trained_on"] == "both")]
    frame = rows.groupby(["base", "stage", "step"], sort=False)[["tokens", "loss"]].mean().reset_index()
    lines = frame.groupby(["base", "stage"])["loss"]
    frame["smooth"] = lines.transform(lambda part: part.rolling(3, min_periods=1).mean())
    drawing, panel = axes()
    batch = records.load(profile, CHAPTER)["parameters"]["batch_size"]
    stages, bases = list(frame["stage"].unique()), list(frame["base"].unique())
    for (base, stage), line in frame.groupby(["base", "stage"], sort=False):
        panel.plot(line["step"] * batch, line["smooth"], color=PALETTE[stages.index(stage)],
                   linestyle=["-", "--", ":", "-."][bases.index(base) % 4], label=f"{base} {stage}")
    panel.set(xlabel="task rows seen", ylabel="loss on the answer (nats/token)", ylim=(0, None))
    panel.legend()
    ends = [f"{base} {stage} {line['smooth'].iloc[0]:.2f} → {line['smooth'].iloc[-1]:.2f}"
            for (base, stage), line in frame.groupby(["base", "stage"], sort=False)]
    return drawing, frame, f"First to last point: {', '.join(ends)} nats a token; vocabularies differ between bases."
