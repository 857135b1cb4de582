"""How a question about a firm is put: cores that name the fact, frames that carry a core, and the
manner of writing.

A fact kind has cores of three sorts: direct questions ("when do you open"), embedded ones ("when
you open") and noun phrases ("[the|your] opening time"). A core that begins with * is *reserved*:
the clients' training rows never use it, their held-out questions use nothing else. Frames and
manners are shared by both.
"""

import re

from draw import Pattern

# (frame, weight). {} is the core, {firm} the firm's name.
DIRECT_FRAMES = [
    ("{}?", 30), ("hi, {}?", 4), ("hello, {}?", 4), ("hey, {}?", 2), ("good morning, {}?", 2),
    ("good evening, {}?", 1), ("excuse me, {}?", 3), ("sorry, {}?", 2), ("quick question: {}?", 3),
    ("one question: {}?", 3), ("i have a question: {}?", 3), ("please tell me, {}?", 3),
    ("hello {firm}, {}?", 3), ("hi {firm} team, {}?", 2), ("{} please?", 4), ("{}, please?", 2),
    ("{}? thanks.", 3), ("{}? thank you.", 3), ("by the way, {}?", 2), ("just asking, {}?", 1),
    ("i am a new customer, {}?", 1), ("my friend asks: {}?", 1),
]
EMBEDDED_FRAMES = [
    ("can you tell me {}?", 6), ("could you tell me {}?", 5), ("do you know {}?", 4),
    ("i would like to know {}.", 5), ("please tell me {}.", 5), ("i want to know {}.", 4),
    ("i need to know {}.", 3), ("tell me {}.", 4), ("i am wondering {}.", 2), ("may i ask {}?", 3),
    ("please let me know {}.", 2), ("would you tell me {}?", 2), ("hello, may i know {}?", 2),
    ("hi, can you say {}?", 2), ("hello {firm}, can you tell me {}?", 2),
    ("my question is {}.", 1),
]
NOUN_FRAMES = [
    ("what is {}?", 16), ("tell me {}.", 4), ("give me {}.", 3), ("i need {}.", 4),
    ("may i have {}?", 3), ("can you give me {}?", 4), ("could you tell me {}?", 4),
    ("i am looking for {}.", 3), ("do you know {}?", 2), ("please give me {}.", 3),
    ("i would like to know {}.", 3), ("i have a question about {}.", 3), ("please tell me {}.", 3),
    ("what is {} of {firm}?", 4), ("hello, what is {}?", 3), ("hi, i need {}.", 2),
    ("can you tell me {}?", 3), ("and what is {}?", 1), ("i am asking about {}.", 1), ("{}?", 4),
    ("{} please.", 2),
]
FRAMES = {"q": DIRECT_FRAMES, "i": EMBEDDED_FRAMES, "n": NOUN_FRAMES}

CONTRACTIONS = [("what is", "what's"), ("where is", "where's"), ("who is", "who's"),
                ("i would", "i'd"), ("i am", "i'm"), ("do not", "don't"), ("it is", "it's"),
                ("can not", "can't"), ("how is", "how's")]


class Core:
    """One way to name a fact; `key` tells it from all others."""

    def __init__(self, kind, sort, number, source):
        self.reserved = source.startswith("*")
        self.pattern = Pattern(source.lstrip("*"))
        self.sort = sort
        self.key = f"{kind}/{sort}{number}"

    def count(self):
        """Distinct sentences before manners, with one firm."""
        return self.pattern.count() * len(FRAMES[self.sort])


def cores_of(kind, **sorts):
    return [Core(kind, sort, number, source) for sort, sources in sorts.items()
            for number, source in enumerate(sources)]


def contract(draw, text, probability):
    for long, short in CONTRACTIONS:
        if long in text and draw.chance(probability):
            text = re.sub(rf"\b{long}\b", short, text)
    return text


def capitalised(text):
    text = re.sub(r"\bi\b", "I", text)
    text = re.sub(r"([?.!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return text[:1].upper() + text[1:]


def manner(draw, text):
    """Capital letters and a full stop, or not."""
    style = draw.weighted([("full", 60), ("lower", 14), ("bare", 18), ("open", 8)])
    if style in ("full", "open"):
        text = capitalised(text)
    if style in ("bare", "open"):
        text = text.rstrip("?.")
    return text


def ask(draw, core, firm, product="", named=True):
    """A question of a core. `named` allows frames that name the firm."""
    frame = draw.weighted(FRAMES[core.sort])
    while not named and "{firm}" in frame:
        frame = draw.weighted(FRAMES[core.sort])
    phrase = core.pattern.draw(draw)
    if core.sort == "n" and frame in ("{}?", "{} please."):
        phrase = re.sub(r"^(the|your) ", "", phrase)
    text = contract(draw, frame.replace("{}", phrase), 0.35)
    return manner(draw, text).replace("{firm}", firm).replace("{product}", product)


def normal(text):
    """What two questions that differ only in manner have in common."""
    text = text.lower()
    for long, short in CONTRACTIONS:
        text = text.replace(short, long)
    return " ".join(re.sub(r"[^a-z0-9@' ]", " ", text).split())
