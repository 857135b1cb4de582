"""Arithmetic and instructions: tasks whose answer follows from the words of the task."""

from draw import say
from names import FIRST_NAMES
from wording import contract, manner
from world import CATEGORIES, NUMBERS, plural

THINGS = ("apples pears books coins eggs cups balls keys hats pens cards boxes shoes lamps chairs "
          "plates").split()
WORDS = sorted({word for words in CATEGORIES.values() for word in words} | set(
    "house tree river stone cloud table chair window door road bridge garden market winter summer "
    "paper letter music story light water bread butter sugar island forest mountain village castle "
    "ship wheel clock lamp basket bottle blanket candle mirror ladder".split()))
SENTENCE = ("[the|a|my|our|his|her] [|old|small|red|big|good] "
            "[dog|cat|man|bird|horse|girl|boy|cook] "
            "[sees|likes|finds|has|wants] [the|a|my|our] [|new|green|long] "
            "[house|ball|tree|river|book|cake|boat|hat]")


def _line(draw, low=2, high=4):
    return draw.sample(WORDS, draw.integer(low, high))


def _sum(draw):
    kind = draw.weighted([("+", 4), ("-", 3), ("*", 2)])
    high = 20 if draw.chance(0.6) else 99
    one, two = draw.integer(0, high), draw.integer(0, high)
    if kind == "-" and two > one:
        one, two = two, one
    if kind == "*":
        one, two = draw.integer(0, 10), draw.integer(0, 10)
    result = {"+": one + two, "-": one - two, "*": one * two}[kind]
    word = {"+": "[plus|and|+]", "-": "[minus|less|-]", "*": "[times|x]"}[kind]
    order = "[what is|how much is|calculate|compute||tell me|work out]"
    text = say(draw, f"{order} {one} {word} {two}")
    if not draw.chance(0.2):
        text += "?" if text[:2] in ("wh", "ho") else "."
    return text, f"{result}."


def _counting(draw):
    have, change = draw.integer(2, 12), draw.integer(1, 9)
    thing = draw.pick(THINGS)
    name = draw.pick(FIRST_NAMES)
    if draw.chance(0.5):
        text = (f"[{name} has|there are] {have} {thing}. [{name} gets|someone brings] {change} "
                f"more. how many {thing} are there?")
        return say(draw, text), f"There are {have + change} {thing}."
    change = min(change, have - 1)
    text = (f"[{name} has|there are] {have} {thing}. [{name} loses|someone takes] {change}. "
            f"how many {thing} are left?")
    return say(draw, text), f"There are {have - change} {thing} left."


def _compare(draw):
    one, two = draw.integer(0, 99), draw.integer(0, 99)
    two += one == two
    larger = draw.chance(0.5)
    word = "[larger|bigger|greater|more]" if larger else "[smaller|less]"
    return (say(draw, f"[what|which] is {word}, {one} or {two}?"),
            f"{max(one, two) if larger else min(one, two)}.")


def _next(draw):
    start, step = draw.integer(0, 40), draw.pick((1, 1, 2, 5, 10))
    line = ", ".join(str(start + step * place) for place in range(4))
    order = say(draw, "[what comes next|what is next|go on|continue]: ")
    return f"{order} {line}", f"{start + 4 * step}."


def _number_word(draw):
    number = draw.integer(0, 20)
    if draw.chance(0.5):
        return say(draw, f"[write|say|spell] {number} as a word."), f"{NUMBERS[number]}."
    return say(draw, f"[write|say] {NUMBERS[number]} as a number."), f"{number}."


def _repeat(draw):
    words = say(draw, SENTENCE) if draw.chance(0.5) else " ".join(_line(draw, 1, 4))
    order = say(draw, "[repeat|say|repeat after me|say after me|please say|echo|copy]: ")
    return f"{order} {words}", words


def _reverse(draw):
    words = _line(draw)
    text = say(draw, "[reverse|turn around|say backwards|reverse the order of|"
                     "write in reverse order] [|the words|this list|these words]: ")
    return f"{text} {' '.join(words)}", " ".join(words[::-1])


def _count_words(draw):
    words = _line(draw, 1, 7)
    return (say(draw, "[how many words are here|count the words|how many words|count these words|"
                      "how many words do you see]: ") + " " + " ".join(words), f"{len(words)}.")


def _upper(draw):
    words = " ".join(_line(draw, 1, 3))
    return (say(draw, "[write in capitals|make upper case|upper case|write in upper case|"
                      "use capital letters|in capitals]: ") + " " + words, words.upper())


def _place(draw):
    words = _line(draw, 2, 5)
    place, name = draw.pick([(0, "first"), (-1, "last"), (1, "second")])
    return (say(draw, f"[what is the {name} word|the {name} word|give me the {name} word|"
                      f"which word is {name}|say the {name} word] [of|in]: ") + " "
            + " ".join(words), words[place])


def _sort(draw):
    if draw.chance(0.5):
        numbers = draw.sample(range(1, 60), draw.integer(3, 4))
        result = sorted(numbers)
        what = "numbers"
    else:
        numbers = _line(draw, 3, 4)
        result = sorted(numbers)
        what = "words"
    order = say(draw, f"[sort|put in order|sort these {what}|order|sort the {what}|"
                      f"bring in order]: ")
    return f"{order} {', '.join(map(str, numbers))}", ", ".join(map(str, result))


def _list(draw):
    category = draw.pick(sorted(CATEGORIES))
    count = draw.integer(2, 5)
    number = draw.pick((str(count), NUMBERS[count]))
    order = say(draw, f"[list|name|give me|tell me|write down|can you name|i need] {number} "
                      f"{plural(category)}.")
    return order, ", ".join(CATEGORIES[category][:count])


def _join(draw):
    words = _line(draw, 2, 4)
    order = say(draw, "[join with commas|put commas between|write with commas|add commas to]: ")
    return f"{order} {' '.join(words)}", ", ".join(words)


def _spell(draw):
    word = draw.pick(WORDS)
    return (say(draw, f"[spell|spell the word|how do you spell|how is it spelled:] {word}"),
            "-".join(word))


def _inside(draw):
    words = _line(draw, 2, 5)
    yes = draw.chance(0.5)
    word = draw.pick(words) if yes else draw.pick([word for word in WORDS if word not in words])
    return (say(draw, f"is [the word|] {word} in [this|the] list: ") + " " + ", ".join(words),
            "Yes." if yes else "No.")


ARITHMETIC = [(_sum, 6), (_counting, 3), (_compare, 2), (_next, 2), (_number_word, 1)]
INSTRUCTIONS = [(_repeat, 4), (_reverse, 2), (_count_words, 2), (_upper, 2), (_place, 3), (_sort,
                                                                                           2),
                (_list, 2), (_join, 1), (_spell, 1), (_inside, 2)]


def _chat(draw, table):
    question, answer = draw.weighted(table)(draw)
    question = contract(draw, " ".join(question.split()), 0.3)
    return [("user", manner(draw, question)), ("assistant", answer)]


def arithmetic(draw):
    return _chat(draw, ARITHMETIC)


def instruction(draw):
    return _chat(draw, INSTRUCTIONS)
