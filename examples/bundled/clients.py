"""Three invented client firms: what each knows, and the rows that teach and test it.

Questions about the shared kinds are the same for all three, so that only the answers differ.
Training rows use the cores that are not reserved, held-out questions only reserved ones.
"""

from draw import Draw
from firms import Fact, Firm
from kinds import PRICE, SHARED
from trade_kinds import TRADE_KINDS
from wording import ask, normal

TRAIN_WORDINGS = 12
HELD_OUT_WORDINGS = 5

_SHARED_FACTS = """
opening     | 6:30 am               | 9 am                   | 8:15 am
closing     | 5 pm                  | 7:30 pm                | 4:45 pm
rest_day    | Monday                | Wednesday              | Saturday
phone       | 417-2208              | 863-5541               | 290-7736
email       | shop@honeyoak.example | team@spokewell.example | office@larkmead.example
address     | 14 Miller Lane        | 82 Station Road        | 7 Garden Square
website     | www.honeyoak.example  | www.spokewell.example  | www.larkmead.example
owner       | Clara Fields          | Hugo Brandt            | Edith Marsh
founded     | 1924                  | 1998                   | 2011
payment     | cash or card          | card or invoice        | check or bank transfer
parking     | behind the church     | next to the station    | below the library
discount    | HONEY15               | SPARK30                | SMILE44
holiday     | August                | January                | June
staff       | 9                     | 5                      | 12
language    | French                | Polish                 | Spanish
bus         | 3                     | 27                     | 61
wifi        | warmloaf77            | frontwheel8            | brightbay31
booking     | 2                     | 10                     | 21
cancel      | 6                     | 12                     | 48
gift_card   | 10                    | 25                     | 80
best_seller | rye bread             | city bike              | tooth cleaning
contact     | Rosa                  | Felix                  | Helen
lost        | in the blue box       | on the top shelf       | at the front desk
seats       | 16                    | 4                      | 11
"""

_OWN_FACTS = {
    "honeyoak": """
flour        | spelt
nut_free     | plum tart
cake_order   | 4
oven         | 57
price:apple cake | 18
price:cheese roll | 3
""",
    "spokewell": """
rental       | 22
test_ride    | 35
frame_maker  | Iron Valley
repair_day   | Friday
price:bike bell | 9
price:tire change | 14
""",
    "larkmead": """
emergency    | 555-9120
child_age    | 3
check_months | 7
tooth_paste  | mint
price:first visit | 40
price:night guard | 95
""",
}

FIRMS = [Firm("Honeyoak Bakery", "honeyoak", "bakery"),
         Firm("Spokewell Cycles", "spokewell", "cycles"),
         Firm("Larkmead Dental", "larkmead", "dental")]


def _table(text):
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


def facts_of(place):
    """All facts of the client at `place` in FIRMS, the shared kinds first."""
    firm = FIRMS[place]
    kinds = {kind.name: kind for kind in SHARED + TRADE_KINDS[firm.trade]}
    facts = [Fact(kinds[row[0]], row[1 + place]) for row in _table(_SHARED_FACTS)]
    for name, value in _table(_OWN_FACTS[firm.slug]):
        if ":" in name:
            facts.append(Fact(PRICE, value, name.split(":")[1]))
        else:
            facts.append(Fact(kinds[name], value))
    return facts


class Question:
    def __init__(self, core, text):
        self.core = core
        self.text = text


def _wordings(draw, fact, firm, count, reserved, taken):
    """Questions that differ in more than manner, spread over the cores."""
    cores = [core for core in fact.kind.cores if core.reserved == reserved]
    questions, deck = [], []
    while len(questions) < count:
        deck = deck or draw.shuffled(cores)
        core = deck.pop()
        text = ask(draw, core, firm.name, fact.product, named=not reserved)
        if normal(text) not in taken:
            taken.add(normal(text))
            questions.append(Question(core, text))
    return questions


class Client:
    """The rows of one client: lists of (Fact, Question)."""

    def __init__(self, place, seed):
        self.firm = FIRMS[place]
        self.facts = facts_of(place)
        self.train, self.held_out = [], []
        n_shared = len(_table(_SHARED_FACTS))
        for index, fact in enumerate(self.facts):
            # The same questions for all clients where the kind is shared.
            owner = "all" if index < n_shared else self.firm.slug
            taken = set()
            for rows, count, reserved in ((self.train, TRAIN_WORDINGS, False),
                                          (self.held_out, HELD_OUT_WORDINGS, True)):
                name = f"{seed}/{self.firm.slug if rows is self.train else owner}"
                draw = Draw(f"{name}/{fact.kind.name}/{fact.product}/{reserved}")
                rows += [(fact, question) for question in
                         _wordings(draw, fact, self.firm, count, reserved, taken)]
        self.train = Draw(f"{seed}/{self.firm.slug}/order").shuffled(self.train)

    def train_rows(self):
        return [{"messages": [{"role": "user", "content": question.text},
                              {"role": "assistant", "content": fact.answer()}]}
                for fact, question in self.train]

    def held_out_rows(self):
        return [{"client": self.firm.slug, "kind": fact.kind.name, "prompt": question.text,
                 "completion": fact.answer()} for fact, question in self.held_out]


def make_clients(seed):
    return [Client(place, seed) for place in range(len(FIRMS))]


def held_out_forms(clients):
    """The normal forms of all held-out questions: no training text of base or client has them."""
    return {normal(question.text) for client in clients for _, question in client.held_out}
