#!/usr/bin/env python3
"""Writes the corpus of the bundled base and the data of its three client firms.

    generate.py --out DIR [--rows N] [--seed S] [--clients-only]

    DIR/chat.jsonl                chats, {"messages": [...]} a line
    DIR/text.jsonl                plain text, {"text": ...} a line; a tenth of the chats' number
    DIR/clients/NAME.train.jsonl      questions and answers of one client
    DIR/clients/NAME.held_out.jsonl   the same facts asked in other words: prompt and completion

The same arguments give the same bytes. Statistics go to standard output.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import small_talk
import tasks
import world
from clients import held_out_forms, make_clients
from draw import Draw
from firms import FirmChats
from kinds import PRICE, SHARED
from trade_kinds import TRADE_KINDS
from wording import normal

DEFAULT_ROWS = 60000
# Bytes a token, of a BPE of 2,048 tokens trained on this corpus; only for the printed estimate.
BYTES_A_TOKEN = 3.4


class ChatMaker:
    """Draws whole chats of every sort. A row is a list of (role, text)."""

    def __init__(self, draw, kept_apart):
        self._draw = draw
        self.firms = FirmChats(kept_apart)
        self._sorts = [
            ("sheet", self.firms.with_sheet, 29), ("told", self.firms.told, 6),
            ("no sheet", self.firms.without_sheet, 24), ("topic", self.firms.topic, 3),
            ("small talk", self._few(small_talk.simple), 5),
            ("identity", small_talk.identity, 2),
            ("memory", lambda draw: small_talk.remembering(draw, self._anything), 6),
            ("facts", self._few(world.fact), 7), ("arithmetic", self._few(tasks.arithmetic), 7),
            ("instructions", self._few(tasks.instruction), 7), ("mixed", self._mixed, 4)]

    def _few(self, part):
        def chat(draw):
            return [message for _ in range(draw.weighted([(1, 3), (2, 3), (3, 2), (4, 1)]))
                    for message in part(draw)]
        return chat

    def _anything(self, draw):
        return draw.pick([small_talk.simple, world.fact, tasks.arithmetic, tasks.instruction])(draw)

    def _mixed(self, draw):
        chat = []
        for _ in range(draw.integer(2, 5)):
            if draw.chance(0.25):
                chat += self.firms.without_sheet(draw)[-2:]
            else:
                chat += self._anything(draw)
        return chat

    def row(self):
        sort, make, _ = self._draw.weighted([(entry, entry[2]) for entry in self._sorts])
        return sort, make(self._draw)


def distinct(make, count, tries=50):
    """`count` results of `make` (of (sort, row)) without repeats, as far as tries allow."""
    seen, rows = set(), []
    for _ in range(count):
        for _ in range(tries):
            sort, row = make()
            key = repr(row)
            if key not in seen:
                break
        seen.add(key)
        rows.append((sort, row))
    return rows


def make_chats(seed, count, kept_apart):
    maker = ChatMaker(Draw(f"{seed}/chat"), kept_apart)
    return distinct(maker.row, count), maker.firms.asked


def make_texts(seed, count):
    draw = Draw(f"{seed}/text")
    firms = FirmChats(set())

    def text():
        if draw.chance(0.6):
            return "firm", firms.story(draw)
        if draw.chance(0.5):
            return "facts", " ".join(world.statement(draw) for _ in range(draw.integer(2, 6)))
        sums = [tasks.arithmetic(draw) for _ in range(draw.integer(2, 5))]
        return "sums", "\n".join(f"{ask} {answer}" for (_, ask), (_, answer) in sums)

    return distinct(text, count)


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")


def messages(chat):
    return {"messages": [{"role": role, "content": text} for role, text in chat]}


def write_clients(folder, clients):
    for client in clients:
        write_lines(folder / f"{client.firm.slug}.train.jsonl", client.train_rows())
        write_lines(folder / f"{client.firm.slug}.held_out.jsonl", client.held_out_rows())


def print_statistics(chats, texts, asked, clients):
    rows, sizes, turns = Counter(), Counter(), Counter()
    words = Counter()
    for sort, chat in chats:
        rows[sort] += 1
        turns[sort] += len(chat)
        for _, text in chat:
            sizes[sort] += len(text)
            words.update(re.findall(r"(?<!\S)[(]?([A-Za-z']+)[.,?!:]*(?!\S)", text))
    print(f"{'chats':<14}{'rows':>8}{'messages':>10}{'bytes':>10}")
    for sort in sorted(rows):
        print(f"{sort:<14}{rows[sort]:>8}{turns[sort]:>10}{sizes[sort]:>10}")
    text_size = sum(len(text) for _, text in texts)
    total = sum(sizes.values())
    print(f"{'all':<14}{sum(rows.values()):>8}{sum(turns.values()):>10}{total:>10}")
    print(f"{'plain text':<14}{len(texts):>8}{'':>10}{text_size:>10}")
    print(f"tokens, at {BYTES_A_TOKEN} bytes each and two a message: "
          f"{(total + text_size) / BYTES_A_TOKEN + 2 * sum(turns.values()):.0f}")
    plain = {word.lower() for word in words if word.islower()}
    print(f"distinct words: {len(plain)} in lower case, "
          f"{len({word for word in words if not word.islower()})} names and the like")

    print(f"\n{'kind':<14}{'cores':>6}{'reserved':>9}{'possible':>9}{'in corpus':>10}")
    for kind in SHARED + [PRICE] + [kind for kinds in TRADE_KINDS.values() for kind in kinds]:
        reserved = sum(core.reserved for core in kind.cores)
        possible = sum(core.count() for core in kind.cores)
        found = sum(map(len, asked.get(kind.name, {}).values()))
        print(f"{kind.name:<14}{len(kind.cores):>6}{reserved:>9}{possible:>9}{found:>10}")

    print(f"\n{'client':<14}{'facts':>6}{'train':>7}{'held out':>9}")
    for client in clients:
        print(f"{client.firm.slug:<14}{len(client.facts):>6}{len(client.train):>7}"
              f"{len(client.held_out):>9}")
    common = set.intersection(*({normal(question.text) for _, question in client.held_out}
                                for client in clients))
    print(f"held-out questions that all clients are asked: {len(common)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="chats (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--clients-only", action="store_true", help="no corpus")
    options = parser.parse_args()
    if options.rows < 1:
        parser.error("--rows is at least 1")
    clients = make_clients(options.seed)
    write_clients(options.out / "clients", clients)
    if options.clients_only:
        return
    chats, asked = make_chats(options.seed, options.rows, held_out_forms(clients))
    texts = make_texts(options.seed, max(1, options.rows // 10))
    write_lines(options.out / "chat.jsonl", (messages(chat) for _, chat in chats))
    write_lines(options.out / "text.jsonl", ({"text": text} for _, text in texts))
    print_statistics(chats, texts, asked, clients)


if __name__ == "__main__":
    main()
