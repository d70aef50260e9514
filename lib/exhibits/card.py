"""The card of a model that is taken elsewhere: Markdown under the hub's metadata, made from records alone."""
from pathlib import Path

import pandas
from huggingface_hub import ModelCardData

from lib.engine import assets, records
from lib.exhibits.base import TABLES, Lacking, markdown, noted

# Of a stage: its chapter and, by the chapter's parameters, where that starts and which training may have made it (the first
# that the record knows; none where nothing is trained).
MADE = {"extended": ("02_tokenizer", lambda given: "base", lambda given: []),
        "pretrained": ("03_pretraining", lambda given: "extended", lambda given: [f"main-{given['seed']}"]),
        "aligned": ("04_alignment", lambda given: given["start"],
                    lambda given: [f"{arm}-{given['seeds'][0]}" for arm in ("pairs", "no-pairs")]),
        "instructed": ("05_sft", lambda given: given["starts"][0], lambda given: [f"from-{given['starts'][0]}"])}
SHOWN = ("size", "examples", "lora_rank", "adapter_scale", "learning_rate", "batch_size", "block_length",
         "max_length")  # where it has them
SPENT = ("tokens", "seconds", "kwh", "kwh_low", "kwh_high")
UPSTREAM = {"smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # what the hub calls an embedded base
UNKNOWN = "No record tells how this model was made: it was exported from a folder."
LICENCES = ("The weights come from those of the base ({licence}) and were trained on the texts above under their own "
            "licences: look at both before you pass them on.")
LIMITS = ("This is a demonstration: minutes of training show directions and make no product. The model knows little "
          "beyond the texts above, invents what it does not know, repeats itself, and was neither trained nor tested for "
          "safety. It was trained to answer one question at a time.")
USE = """```python
from transformers import pipeline
asked = [{"role": "user", "content": "…"}]
print(pipeline("text-generation", ".")(asked, max_new_tokens=80)[0]["generated_text"][-1]["content"])
```"""


def card(profile: str, stage: str = "") -> str:
    """The card of a stage of a profile; without a stage, that of a model of which no record tells.

    What chapters 06 and 13 add is left open where they have no record. Raises FileNotFoundError where one is missing
    that made the stage.
    """
    if not stage:
        return _page("A language model", {}, {"": UNKNOWN})
    corpus, base = (records.load(profile, name)["parameters"] for name in ("01_corpus", "02_tokenizer"))
    name, origin, licence = _base(base["base"])
    codes, made = list(dict.fromkeys([corpus["language"], "en"])), made_by(profile, stage)
    return _page(f"{name} in {corpus['language']}: {stage}", {"language": codes, "base_model": origin}, {
        "": f"The stage *{stage}* of the profile `{profile}`. Its base is {name} ({licence})"
            f"{', unpacked from 4-bit weights' * (name in assets.registry())}; the language learned is "
            f"`{corpus['language']}`.",
        "What was trained": _trained(made), "Texts": f"{_texts(profile, codes)}\n\n{LICENCES.format(licence=licence)}",
        "Scores": _scores(profile, stage), "Energy": _energy(profile, made)})


def made_by(profile: str, stage: str) -> list[dict]:
    """What made a stage from the base, the first step first: stage, start, chapter, parameters, SPENT, revision.

    Of SPENT a record may know nothing (None); where only rows are added it is 0.
    """
    if stage == "base":
        return []
    chapter, start, trainings = MADE[stage]
    record = records.load(profile, chapter)
    given, parts = record["parameters"], {part["of"]: part for part in record["rows"].get("energy", [])}
    names = trainings(given)
    part = next((parts[name] for name in names if name in parts), {} if names else dict.fromkeys(SPENT, 0))
    made, changed = record["environment"], {True: ", changed", None: "unknown"}
    # What came out, where the parameter left it open.
    found = given | {fact["fact"]: fact["value"] for fact in record["facts"] if fact["fact"] == "adapter_scale"}
    return [*made_by(profile, start(given)), {
        "stage": stage, "start": start(given), "chapter": chapter,
        "parameters": ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found),
        **{name: part.get(name) for name in SPENT},
        "revision": made.get("revision", "")[:10] + changed.get(made.get("dirty"), "")}]


def _page(title: str, about: dict, parts: dict[str, str]) -> str:
    """A card: metadata, title, parts by heading, and what is true of every such model."""
    data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", license="other",
                         license_name="see-the-card", **about)
    parts = parts | {"Limits": LIMITS, "Use": USE}
    text = "\n\n".join(f"## {heading}\n\n{part}" if heading else part for heading, part in parts.items())
    return f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{text}\n"


def _base(base: str) -> tuple[str, str | None, str]:
    """A base's name without the folders of this machine, what the hub calls it if it is there, and its licence."""
    name, on_hub = base.split("@")[0], "@" in base
    licence = assets.registry().get(base, {}).get("licence", "its licence: see there")
    return name if on_hub else Path(name).name, name if on_hub else UPSTREAM.get(name), licence


def _trained(made: list[dict]) -> str:
    """The steps as a table."""
    if not made:
        return "Nothing: this is the base as it came."
    frame = pandas.DataFrame(made).drop(columns=[name for name in SPENT if name.startswith("kwh")])
    return markdown(frame.astype({"tokens": object, "seconds": object}))


def _texts(profile: str, codes: list[str]) -> str:
    """The sources of the texts in the model's languages, with their licences."""
    frame, reading = TABLES["C01-T1"].build(profile)
    return f"{reading}\n\n{markdown(frame[frame['language'].isin(codes)])}"


def _scores(profile: str, stage: str) -> str:
    """The stage's scores beside the base's, each with n and its 95 % interval."""
    try:
        frame, _ = TABLES["P1-T5"].build(profile)
    except (FileNotFoundError, Lacking) as error:
        return f"Not measured: {error}"
    about = ["score", "unit", "n", "chance"]
    if stage not in frame:
        return f"Not measured: chapter 06_evaluation scored {', '.join(frame.columns.drop([*about, 'signal']))} only."
    shown = frame[[name for name in dict.fromkeys([*about, "base", stage]) if name in frame]]
    return f"Brackets are 95 % intervals over n items, the same for every model.\n\n{markdown(shown)}"


def _energy(profile: str, made: list[dict]) -> str:
    """kWh of the trainings that made the stage, and what they weigh on the grid that chapter 13 leads with."""
    if any(row["kwh"] is None for row in made):
        return "Not known: a training's record has no meter reading."
    kwh, low, high = (sum(row[name] for row in made) for name in ("kwh", "kwh_low", "kwh_high"))
    told = f"The trainings above took {kwh:.3g} kWh (between {low:.3g} and {high:.3g}, as far as it is modelled)"
    try:
        grid, pue = noted(profile, "13_carbon", "intensity").iloc[0], records.load(profile, "13_carbon")["parameters"]["pue"]
    except FileNotFoundError:
        return f"{told}. What that is in CO₂ is not known, since chapter 13_carbon has no record."
    return f"{told}, {kwh * pue * float(grid['value']):.3g} g CO₂ on the grid of {grid['country']} (PUE {pue})."
