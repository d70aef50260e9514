"""Sentences of a treebank (CoNLL-U of Universal Dependencies), and minimal pairs of agreement made from them."""
from collections import Counter, defaultdict
from typing import NamedTuple

import regex

SHORTEST = 3  # letters of a verb's form
OTHER = {"Sing": "Plur", "Plur": "Sing"}
ENDINGS = {"م": "یم", "ی": "ید", "د": "ند"}  # of the singular → of the plural; the third person of the past has none → ند
# Of whom politeness speaks in the plural, and of which either number is right.
HONOURED = set("حضرت امام امام‌جمعه آیت‌الله پیامبر پیغمبر رسول شیخ خدا خداوند آقا آقای خانم جناب دکتر استاد مهندس "
               "وزیر رئیس رییس رئیس‌جمهور رییس‌جمهور دبیر دبیرکل رهبر سفیر نماینده سردار شاه پادشاه سلطان "
               "پدر مادر پدربزرگ مادربزرگ وی ایشان".split())
GROUPS = set("گروه اکثریت اقلیت مردم تیم هیئت هیات ملت خانواده جمعیت عده نفر دسته".split())


class Token(NamedTuple):
    """A word of a sentence with its features by name, its head's number and its relation to that."""

    number: str
    form: str
    lemma: str
    kind: str
    tag: str
    features: dict[str, str]
    head: str
    relation: str


class Sentence(NamedTuple):
    """A sentence as it was written, and its words."""

    text: str
    tokens: list[Token]


def read(content: str) -> list[Sentence]:
    """The sentences of a CoNLL-U file; words that are parts of one token stand alone."""
    return [Sentence(regex.search(r"(?m)^# text = (.*)$", block)[1],
                     [_token(line.split("\t")) for line in block.split("\n") if line.split("\t")[0].isdigit()])
            for block in content.strip().split("\n\n")]


def _token(fields: list[str]) -> Token:
    number, form, lemma, kind, tag, features, head, relation = fields[:8]
    return Token(number, form, lemma, kind, tag, dict(part.split("=") for part in features.split("|") if "=" in part), head,
                 relation)


def agreement(sentences: list[Sentence]) -> list[tuple[str, str]]:
    """(sentence, the same with its verb in the other number), for verbs with a living subject or a pronoun.

    In Persian the verb of a lifeless subject may stand in the singular, that of an honoured person in the plural, that of a
    group in either, and coordinated subjects and compound tenses have more than one word to change, so these are left out.
    The other form is one that the treebank has of the same verb, tense, mood and person.
    """
    forms = _forms(sentences)
    found = []
    for sentence in sentences:
        for subject in sentence.tokens:
            verb = next((token for token in sentence.tokens if token.number == subject.head), None)
            if verb and _simple(subject, verb, sentence):
                form = forms.get((*_paradigm(verb), OTHER[verb.features["Number"]]))
                if form and _alike(form, verb.form) and sentence.text.count(verb.form) == 1:
                    found.append((sentence.text, sentence.text.replace(verb.form, form)))
    return list(dict.fromkeys(found))


def _forms(sentences: list[Sentence]) -> dict[tuple, str]:
    """Paradigm and number → the most frequent form; participles, of which some have the features of a verb, end in ه."""
    counts = defaultdict(Counter)
    for sentence in sentences:
        for token in sentence.tokens:
            if "Number" in token.features and token.kind in ("VERB", "AUX") and not token.form.endswith("ه"):
                counts[*_paradigm(token), token.features["Number"]][token.form] += 1
    return {paradigm: forms.most_common(1)[0][0] for paradigm, forms in counts.items()}


def _alike(*forms: str) -> bool:
    """Whether two forms differ in the ending of their number alone: the treebank's features do not tell stem and prefix."""
    singular, plural = sorted(forms, key=len)
    return len(singular) >= SHORTEST and plural in (singular + "ند", singular[:-1] + ENDINGS.get(singular[-1], "-"))


def _paradigm(verb: Token) -> tuple:
    """What two forms of a verb share that differ in number alone."""
    features = sorted((name, value) for name, value in verb.features.items() if name != "Number")
    return verb.lemma, verb.form.startswith("می"), *features


def _simple(subject: Token, verb: Token, sentence: Sentence) -> bool:
    """Whether a verb in one word agrees with a subject that is one person or one group."""
    living = subject.tag == "N_ANM" or (subject.kind, subject.tag) == ("PRON", "PR_SEPER")
    number = subject.features.get("Number", verb.features.get("Number"))
    others = {(token.head, token.relation.split(":")[0]) for token in sentence.tokens}
    called = {word for token in sentence.tokens if subject.number in (token.number, token.head)
              for word in (token.form, token.lemma)}
    free = GROUPS if number == "Plur" else GROUPS | HONOURED
    return (subject.relation.startswith("nsubj") and living and verb.kind == "VERB" and "VerbForm" not in verb.features
            and verb.features.get("Number") == number in OTHER and not called & free and (subject.number, "conj") not in others
            and (verb.number, "aux") not in others)
