"""A small closed world of facts: colors, animals, days, opposites, capitals and the like."""

from draw import say
from values import DAYS, MONTHS
from wording import capitalised, contract, manner

# name: (legs, sound or "", young, size from 1 to 9, where it lives)
ANIMALS = {
    "dog": (4, "barks", "puppy", 4, "house"), "cat": (4, "meows", "kitten", 3, "house"),
    "cow": (4, "moos", "calf", 7, "farm"), "sheep": (4, "bleats", "lamb", 5, "farm"),
    "horse": (4, "neighs", "foal", 8, "farm"), "pig": (4, "grunts", "piglet", 5, "farm"),
    "duck": (2, "quacks", "duckling", 2, "pond"), "hen": (2, "clucks", "chick", 2, "farm"),
    "lion": (4, "roars", "cub", 7, "wild"), "frog": (4, "croaks", "tadpole", 1, "pond"),
    "owl": (2, "hoots", "owlet", 2, "forest"), "bee": (6, "buzzes", "larva", 1, "hive"),
    "wolf": (4, "howls", "pup", 5, "forest"), "bear": (4, "growls", "cub", 8, "forest"),
    "spider": (8, "", "", 1, "web"), "ant": (6, "", "larva", 1, "ground"),
    "snake": (0, "hisses", "", 2, "grass"), "fish": (0, "", "fry", 2, "water"),
    "elephant": (4, "trumpets", "calf", 9, "wild"), "mouse": (4, "squeaks", "pup", 1, "house"),
    "goose": (2, "honks", "gosling", 3, "pond"), "goat": (4, "bleats", "kid", 5, "farm"),
}
COLOR_OF = {
    "grass": "green", "snow": "white", "coal": "black", "the sky": "blue", "a lemon": "yellow",
    "blood": "red", "a carrot": "orange", "a crow": "black", "milk": "white", "a banana": "yellow",
    "a tomato": "red", "chocolate": "brown", "a plum": "purple", "a frog": "green",
    "gold": "yellow", "the sea": "blue", "a pig": "pink", "salt": "white", "night": "black",
    "a strawberry": "red", "a leaf": "green", "the sun": "yellow", "an elephant": "gray",
    "soil": "brown",
}
OPPOSITES = (
    "hot cold/big small/up down/left right/open closed/day night/old young/fast slow/high low/"
    "good bad/rich poor/wet dry/full empty/hard soft/happy sad/light dark/long short/early late/"
    "clean dirty/strong weak/thick thin/loud quiet/near far/first last/push pull/buy sell/"
    "true false/win lose/begin end/in out/black white/sweet sour/heavy light/"
    "wide narrow/cheap expensive").split("/")
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Poland": "Warsaw",
    "Norway": "Oslo", "Greece": "Athens", "Austria": "Vienna", "Portugal": "Lisbon",
    "Ireland": "Dublin", "Japan": "Tokyo", "Egypt": "Cairo", "Sweden": "Stockholm",
    "Hungary": "Budapest",
}
CATEGORIES = {
    "fruit": "apple pear plum cherry peach lemon grape melon".split(),
    "animal": "dog cat cow horse sheep goat lion bear".split(),
    "color": "red blue green yellow black white brown pink".split(),
    "tool": "hammer saw drill rake shovel pliers file axe".split(),
    "vegetable": "carrot onion potato bean cabbage pea leek beet".split(),
    "drink": "water milk tea coffee juice lemonade cocoa cider".split(),
    "vehicle": "car bus train truck bike boat tram van".split(),
    "body part": "hand foot arm leg nose ear knee head".split(),
    "metal": "iron gold silver copper tin lead zinc steel".split(),
    "flower": "rose tulip lily daisy violet poppy iris aster".split(),
}
PLURAL = {"color": "colors", "body part": "body parts"}
MADE = {"a baker": "bread", "a tailor": "clothes", "a shoemaker": "shoes", "a writer": "books",
        "a painter": "pictures", "a carpenter": "furniture", "a bee": "honey", "a hen": "eggs",
        "a cook": "meals", "a potter": "pots", "a brewer": "beer", "a spider": "webs"}
COUNTS = {"days are in a week": "7", "months are in a year": "12", "hours are in a day": "24",
          "minutes are in an hour": "60", "seconds are in a minute": "60",
          "seasons are in a year": "4", "wheels does a bike have": "2",
          "wheels does a car have": "4", "fingers are on a hand": "5", "eyes do you have": "2",
          "sides does a square have": "4", "sides does a triangle have": "3",
          "letters are in the alphabet": "26", "cents are in a dollar": "100",
          "weeks are in a year": "52", "toes are on a foot": "5"}
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
           "fifteen sixteen seventeen eighteen nineteen twenty").split()


# Words of these need no article: "red is a color", "milk is a drink".
BARE = {word for category in ("color", "drink", "metal") for word in CATEGORIES[category]}


def article(word):
    if word in BARE:
        return word
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def plural(category):
    return PLURAL.get(category, category + "s")


def _animal(draw):
    name = draw.pick(sorted(ANIMALS))
    legs, sound, young, size, home = ANIMALS[name]
    other = draw.pick(sorted(ANIMALS))
    choices = [(f"how many legs does {article(name)} have?", f"{capitalised(article(name))} has "
                f"{NUMBERS[legs] if legs else 'no'} legs."),
               (f"[where does {article(name)} live|what is the home of {article(name)}]?",
                f"{capitalised(article(name))} lives in the {home}.")]
    if sound:
        choices.append((f"[what sound does {article(name)} make|what does {article(name)} do|"
                        f"how does {article(name)} sound]?",
                        f"{capitalised(article(name))} {sound}."))
    if young:
        choices.append((f"[what is a young {name} called|what is a baby {name}|"
                        f"how do you call a young {name}]?",
                        f"A young {name} is called {article(young)}."))
    if size != ANIMALS[other][3]:
        bigger = draw.chance(0.5)
        yes = (size > ANIMALS[other][3]) == bigger
        choices.append((f"is {article(name)} {'bigger' if bigger else 'smaller'} than "
                        f"{article(other)}?", "Yes." if yes else "No."))
    return draw.pick(choices)


def _color(draw):
    thing = draw.pick(sorted(COLOR_OF))
    return (f"[what color is {thing}|what is the color of {thing}|which color does {thing} have|"
            f"tell me the color of {thing}]?", f"{capitalised(thing)} is {COLOR_OF[thing]}.")


def _opposite(draw):
    pair = draw.pick(OPPOSITES).split()
    one, other = pair if draw.chance(0.5) or "light" in pair else pair[::-1]
    if one == "light":
        one, other = "dark", "light"
    return (f"[what is the opposite of {one}|the opposite of {one}|give me the opposite of {one}|"
            f"what is not {one}]?", f"The opposite of {one} is {other}.")


def _capital(draw):
    land = draw.pick(sorted(CAPITALS))
    city = CAPITALS[land]
    return draw.pick([
        (f"[what is the capital of {land}|which city is the capital of {land}|"
         f"tell me the capital of {land}]?", f"The capital of {land} is {city}."),
        (f"[in which country is {city}|where is {city}|which country has the capital {city}]?",
         f"{city} is in {land}.")])


def _calendar(draw):
    days = draw.chance(0.5)
    names = DAYS if days else MONTHS
    place = draw.integer(0, len(names) - 1)
    after = draw.chance(0.6)
    other = names[(place + (1 if after else -1)) % len(names)]
    return (f"[what {'day' if days else 'month'} comes|which {'day' if days else 'month'} is|what "
            f"comes|what is] {'after' if after else 'before'} {names[place]}?", f"{other}.")


def _member(draw):
    category = draw.pick(sorted(CATEGORIES))
    other = category if draw.chance(0.5) else draw.pick(sorted(CATEGORIES))
    word = draw.pick(CATEGORIES[other])
    return draw.pick([
        (f"is {article(word)} {article(category)}?", "Yes." if other == category else "No."),
        (f"[what is {article(word)}|what kind of thing is {article(word)}]?",
         f"{capitalised(article(word))} is {article(other)}."),
        (f"[name|tell me|give me] {article(category)}.",
         f"{capitalised(CATEGORIES[category][0])}.")])


def _maker(draw):
    who = draw.pick(sorted(MADE))
    return draw.pick([(f"what does {who} make?", f"{capitalised(who)} makes {MADE[who]}."),
                      (f"who makes {MADE[who]}?", f"{capitalised(who)} makes {MADE[who]}.")])


def _count(draw):
    what = draw.pick(sorted(COUNTS))
    return f"how many {what}?", f"{COUNTS[what]}."


FACTS = [_animal, _color, _opposite, _capital, _calendar, _member, _maker, _count]


def fact(draw):
    question, answer = draw.pick(FACTS)(draw)
    text = contract(draw, say(draw, question), 0.3)
    if draw.chance(0.25):
        start = say(draw, "[please tell me,|i want to know,|hello,|do you know:|question:]")
        text = f"{start} {text}"
    return [("user", manner(draw, text)), ("assistant", answer)]


def statement(draw):
    """A fact as a sentence of plain text."""
    while True:
        answer = draw.pick(FACTS)(draw)[1]
        if answer.count(" ") > 1:
            return answer
