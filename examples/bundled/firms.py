"""Invented firms, what is known of each, and chats about them.

A chat shows the facts of a firm on a sheet in the system prompt (lines of a table, or sentences),
or the user tells them, or nobody does. Answers come from what has been told, in the form that
belongs to the kind of fact; what has not been told is not known.
"""

import values
from draw import say
from kinds import PRICE, SHARED
from names import FIRST_NAMES, LAST_NAMES, NAME_HEADS, NAME_TAILS, TRADES
from trade_kinds import TRADE_KINDS
from wording import ask, capitalised, manner, normal

FIRM_INTRODUCTIONS = (
    "You [are the assistant of|answer for|work for|speak for|help the customers of] {firm}.",
    "You are the [voice|chat|help] of {firm}.", "This is the help desk of {firm}.",
    "Firm: {firm}", "{firm}")
UNKNOWN = "I do not have that information."
ODD_QUESTIONS = (
    "[what color is|how heavy is|how tall is|who painted] the [door|roof|wall|sign|counter|window]",
    "how many [windows|doors|lamps|plants|keys] [do you have|are there]",
    "what is the name of [your|the owner's] [dog|cat|son|daughter|truck]",
    "who [made|bought|designed|cleans] the [sign|floor|counter|roof|lamp]",
    "how [warm|cold|loud|dark] is the [room|cellar|hall|kitchen]",
    "what did [the owner|the boss|the team] [eat|say|do] [yesterday|last week|on Sunday]",
    "what [song|radio|music] plays in the [shop|hall|room]",
    "how much [rent|tax|money] do you [pay|have]", "what does the [boss|team] wear [|at work]")
LEARN = ("[please |]remember this: {}", "{}", "note this: {}", "[please |]keep in mind: {}",
         "[i tell you|you should know]: {}", "here is a fact: {}", "for the customers: {}")
LEARNED = "Thank you. I will remember it."
# The trades with kinds of their own come up more often, that these kinds are seen enough.
TRADE_WEIGHTS = [(trade, len(TRADE_KINDS.get(trade, [])) or 1) for trade in sorted(TRADES)]


class Firm:
    def __init__(self, name, slug, trade):
        self.name = name
        self.slug = slug
        self.trade = trade
        self.products = TRADES[trade][1]


def invent(draw):
    trade = draw.weighted(TRADE_WEIGHTS)
    ending = draw.pick(TRADES[trade][0])
    shape = draw.weighted([("joined", 5), ("person", 2), ("two", 2), ("pair", 1)])
    if shape == "joined":
        first = draw.pick(NAME_HEADS) + draw.pick(NAME_TAILS)
    elif shape == "person":
        first = draw.pick(LAST_NAMES)
        if draw.chance(0.5):
            first = f"{draw.pick(FIRST_NAMES)} {first}"
    elif shape == "two":
        first = f"{draw.pick(NAME_HEADS)} {draw.pick(NAME_HEADS)}"
    else:
        first = f"{draw.pick(LAST_NAMES)} and {draw.pick(LAST_NAMES)}"
    slug = first.lower().replace(" and ", "").replace(" ", "")
    return Firm(f"{first} {ending}", slug, trade)


class Fact:
    """A kind of fact with the value that holds for one firm."""

    def __init__(self, kind, value, product=""):
        self.kind = kind
        self.value = value
        self.product = product

    def answer(self):
        return self.kind.tell(self.value, self.product)

    def line(self):
        return f"{self.kind.heading(self.product)}: {self.value}"


def kinds_for(firm):
    return SHARED + TRADE_KINDS.get(firm.trade, [])


def drawn_kinds(firm):
    """What to pick from: kinds of a trade twice, since their firms are few, and prices."""
    return SHARED + TRADE_KINDS.get(firm.trade, []) * 2 + [PRICE] * 3


def draw_facts(draw, firm, count):
    """Facts of different kinds, prices of several products among them."""
    kinds = []
    for kind in draw.sample(drawn_kinds(firm), count):
        if kind is PRICE or kind not in kinds:
            kinds.append(kind)
    products = draw.shuffled(firm.products)
    return [Fact(kind, kind.value(draw, firm), products.pop() if kind is PRICE else "")
            for kind in kinds]


class FirmChats:
    """Chats about invented firms. `kept_apart` holds the normal forms of questions that the corpus
    must not contain; `asked` counts the wordings of each kind."""

    def __init__(self, kept_apart):
        self._kept_apart = kept_apart
        self.asked = {}

    def question(self, draw, kind, firm, product=""):
        while True:
            core = draw.pick(kind.cores)
            text = ask(draw, core, firm.name, product)
            form = normal(text)
            if form not in self._kept_apart:
                self.asked.setdefault(kind.name, {}).setdefault(core.key, set()).add(
                    form.replace(normal(firm.name), "*"))
                return text

    def _exchange(self, draw, fact, firm):
        return [("user", self.question(draw, fact.kind, firm, fact.product)),
                ("assistant", fact.answer())]

    def unknown(self, draw, firm, known=()):
        """A question whose answer is on no sheet."""
        if draw.chance(0.12):
            return [("user", manner(draw, say(draw, draw.pick(ODD_QUESTIONS)) + "?")),
                    ("assistant", UNKNOWN)]
        taken = {fact.kind.name for fact in known}
        kinds = [kind for kind in drawn_kinds(firm) if kind.name not in taken]
        kind = draw.pick(kinds)
        product = draw.pick(firm.products) if kind is PRICE else ""
        return [("user", self.question(draw, kind, firm, product)),
                ("assistant", kind.unknown(product))]

    def _sheet(self, draw, firm, facts):
        introduction = say(draw, draw.pick(FIRM_INTRODUCTIONS)).replace("{firm}", firm.name)
        if draw.chance(0.6):
            return "\n".join([introduction] + [fact.line() for fact in facts])
        return " ".join([introduction] + [fact.answer() for fact in facts])

    def with_sheet(self, draw):
        firm = invent(draw)
        count = draw.weighted([(1, 1), (2, 2), (3, 3), (4, 3), (6, 3), (8, 2)])
        facts = draw_facts(draw, firm, count)
        chat = [("system", self._sheet(draw, firm, facts))]
        for fact in draw.sample(facts, draw.integer(1, 4)):
            chat += self._exchange(draw, fact, firm)
            if draw.chance(0.12):
                chat += self.unknown(draw, firm, facts)
        if draw.chance(0.08):
            chat += [("user", manner(draw, say(draw, "[who are you|what is your job]?"))),
                     ("assistant", f"I am the assistant of {firm.name}.")]
        return chat

    def told(self, draw):
        """The user tells facts first and asks for them later."""
        firm = invent(draw)
        facts = draw_facts(draw, firm, draw.integer(1, 3))
        chat = []
        for fact in facts:
            told = capitalised(say(draw, draw.pick(LEARN))).replace("{}", fact.answer())
            chat += [("user", told), ("assistant", LEARNED)]
        for fact in draw.sample(facts, draw.integer(1, 2)):
            chat += self._exchange(draw, fact, firm)
        return chat

    def without_sheet(self, draw):
        firm = invent(draw)
        chat = []
        if draw.chance(0.15):
            introduction = say(draw, draw.pick(FIRM_INTRODUCTIONS)).replace("{firm}", firm.name)
            chat.append(("system", introduction))
        for _ in range(draw.weighted([(1, 6), (2, 2), (3, 1)])):
            chat += self.unknown(draw, firm)
        return chat

    def topic(self, draw):
        """Which kind of fact a question is about."""
        firm = invent(draw)
        kind = draw.pick(kinds_for(firm))
        order = say(draw, "[what is this question about|name the topic of this question|"
                          "which topic is this|what does the customer want to know]")
        return [("user", f"{capitalised(order)}: {self.question(draw, kind, firm)}"),
                ("assistant", f"{kind.label}.")]

    def story(self, draw):
        """A paragraph about a firm, for the file of plain text."""
        firm = invent(draw)
        facts = draw_facts(draw, firm, draw.integer(2, 5))
        start = say(draw, "[welcome to {firm}.|{firm} is glad to see you.|this is {firm}.|"
                          "some facts about {firm}.|dear customer, this is about {firm}.]")
        lines = [capitalised(start).replace("{firm}", firm.name)]
        return " ".join(lines + [fact.answer() for fact in facts])
