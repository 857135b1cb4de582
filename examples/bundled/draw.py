"""Chance and grammar, the two tools of every part of the generator.

Draw wraps the one method of Python's generator whose results are promised for all versions
(`random()`), so that a seed gives the same corpus everywhere.

A pattern is a sentence with choices: "when do you [open|open up] [|today]" stands for four
sentences. An empty choice leaves no double space behind.
"""

import random
import re


class Draw:
    def __init__(self, seed):
        self._random = random.Random(str(seed)).random

    def chance(self, probability):
        return self._random() < probability

    def integer(self, low, high):
        """From low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, items):
        return items[int(self._random() * len(items))]

    def weighted(self, pairs):
        """One of the items of (item, weight) pairs."""
        point = self._random() * sum(weight for _, weight in pairs)
        for item, weight in pairs:
            point -= weight
            if point < 0:
                return item
        return pairs[-1][0]

    def shuffled(self, items):
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(0, last)
            items[last], items[other] = items[other], items[last]
        return items

    def sample(self, items, count):
        return self.shuffled(items)[:count]


class Pattern:
    """A sentence with choices, taken apart once."""

    def __init__(self, source):
        self.source = source
        self._parts = [part.split("|") for part in re.split(r"[\[\]]", source)]

    def draw(self, draw):
        text = "".join(draw.pick(part) if len(part) > 1 else part[0] for part in self._parts)
        return re.sub(r" ([?.,!])", r"\1", " ".join(text.split()))

    def count(self):
        total = 1
        for part in self._parts:
            total *= len(part)
        return total


_PATTERNS = {}


def say(draw, source):
    """A sentence of a pattern."""
    if source not in _PATTERNS:
        _PATTERNS[source] = Pattern(source)
    return _PATTERNS[source].draw(draw)
