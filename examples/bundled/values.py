"""The values that facts of invented firms take. Each function draws one; `firm` carries the name
and the products."""

from names import (CODE_WORDS, FIRST_NAMES, LAST_NAMES, NAME_HEADS, NAME_TAILS, PRODUCTS,
                   STREET_KINDS)

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November "
          "December").split()
MAIL_BOXES = "info hello office mail shop post desk team contact ask".split()
PAYMENTS = ("cash", "card", "bank transfer", "check", "phone", "invoice", "gift card", "coins")
PARKING = tuple(f"{where} the {what}" for where in ("behind", "next to", "across from", "below",
                                                    "in front of")
                for what in ("house", "church", "station", "school", "market", "library", "park",
                             "bank", "bridge", "mill", "post office", "town hall"))
LANGUAGES = ("French German Spanish Italian Polish Dutch Danish Greek Turkish Swedish Finnish "
             "Czech Portuguese Russian Arabic Hindi Japanese Korean").split()
PLACES = ("at the front desk", "in the blue box", "in the office", "behind the counter",
          "in the red drawer", "at the back door", "in the cellar", "on the top shelf",
          "in the white cabinet", "at the side window", "in the hall", "under the stairs")
COLORS = "red blue green yellow white black brown orange purple pink gray silver".split()


def hour(draw, low, high, half):
    number = draw.integer(low, high)
    minutes = draw.weighted([("", 5), (":30", 4), (":15", 1), (":45", 1)])
    return f"{number}{minutes} {half}"


def opening(draw, firm):
    return hour(draw, 6, 11, "am")


def closing(draw, firm):
    return hour(draw, 1, 10, "pm")


def phone(draw, firm):
    return f"{draw.integer(200, 999)}-{draw.integer(0, 9999):04d}"


def street_word(draw):
    if draw.chance(0.4):
        return draw.pick(LAST_NAMES)
    return draw.pick(NAME_HEADS)


def address(draw, firm):
    return f"{draw.integer(1, 199)} {street_word(draw)} {draw.pick(STREET_KINDS)}"


def email(draw, firm):
    return f"{draw.pick(MAIL_BOXES)}@{firm.slug}.example"


def website(draw, firm):
    return f"www.{firm.slug}.example"


def person(draw, firm):
    return f"{draw.pick(FIRST_NAMES)} {draw.pick(LAST_NAMES)}"


def first_name(draw, firm):
    return draw.pick(FIRST_NAMES)


def year(draw, firm):
    return str(draw.integer(1870, 2024))


def number(low, high, step=1):
    def value(draw, firm):
        return str(low + step * draw.integer(0, (high - low) // step))
    return value


def one_of(items):
    return lambda draw, firm: draw.pick(items)


def two_of(items):
    return lambda draw, firm: " or ".join(draw.sample(items, 2))


def code(draw, firm):
    return f"{draw.pick(CODE_WORDS)}{draw.integer(5, 99)}"


def password(draw, firm):
    return f"{draw.pick(NAME_HEADS)}{draw.pick(NAME_TAILS)}{draw.integer(1, 99)}".lower()


def product(draw, firm):
    return draw.pick(firm.products if firm else PRODUCTS)


def made_of(draw, firm):
    return f"{draw.pick(NAME_HEADS)} {draw.pick(('Mill', 'Farm', 'House', 'Works', 'Valley'))}"
