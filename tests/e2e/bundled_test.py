"""examples/bundled: what its README says of the corpus and of the clients' data is true."""

import itertools
import json
import subprocess
import sys
import unittest

from program import SOURCE, Case, etch, etch_json

BUNDLED = SOURCE / "examples" / "bundled"
sys.path.insert(0, str(BUNDLED))
sys.dont_write_bytecode = True

from clients import FIRMS, held_out_forms, make_clients  # noqa: E402
from kinds import PRICE, SHARED  # noqa: E402
from trade_kinds import TRADE_KINDS  # noqa: E402
from wording import NOUN_FRAMES, normal  # noqa: E402

ROWS = 4000
KINDS = SHARED + [PRICE] + list(itertools.chain.from_iterable(TRADE_KINDS.values()))


def generate(out, *options):
    return subprocess.run([sys.executable, BUNDLED / "generate.py", "--out", out,
                           *map(str, options)], check=True, capture_output=True, text=True).stdout


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


class Corpus(Case):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "corpus"
        self.said = generate(self.out, "--rows", ROWS)
        self.chats = [row["messages"] for row in rows_of(self.out / "chat.jsonl")]

    def test_the_same_arguments_give_the_same_bytes(self):
        self.assertEqual(generate(self.folder / "again", "--rows", ROWS), self.said)
        self.assertEqual(contents(self.folder / "again"), contents(self.out))
        generate(self.folder / "other", "--rows", ROWS, "--seed", 2)
        for name, content in contents(self.folder / "other").items():
            self.assertNotEqual(content, (self.out / name).read_bytes(), name)

    def test_rows_are_chats_that_fit_the_context(self):
        self.assertEqual(len(self.chats), ROWS)
        for chat in self.chats:
            roles = [message["role"] for message in chat]
            turns = roles[1:] if roles[0] == "system" else roles
            self.assertEqual(turns, ["user", "assistant"] * (len(turns) // 2))
            self.assertGreaterEqual(len(turns), 2)
            text = "".join(message["content"] for message in chat)
            # 512 tokens of context, at no fewer than three bytes a token.
            self.assertLess(len(text) + 6 * len(chat), 3 * 512, chat)

    def test_texts_are_plain(self):
        texts = [row["text"] for row in rows_of(self.out / "text.jsonl")]
        self.assertEqual(len(texts), ROWS // 10)
        texts += [message["content"] for chat in self.chats for message in chat]
        for text in texts:
            self.assertTrue(text.isascii())
            self.assertTrue(all(letter.isprintable() or letter == "\n" for letter in text), text)
            self.assertNotRegex(text, r"[][{}*|]|<\||  |^\s|\s$", text)

    def test_held_out_questions_are_not_in_it(self):
        forms = held_out_forms(make_clients(1))
        asked = {normal(message["content"]) for chat in self.chats for message in chat
                 if message["role"] == "user"}
        self.assertEqual(forms & asked, set())

    def test_clients_are_not_in_it(self):
        text = (self.out / "chat.jsonl").read_text() + (self.out / "text.jsonl").read_text()
        for firm in FIRMS:
            self.assertNotIn(firm.slug, text.lower())

    def test_statistics_name_every_kind(self):
        for kind in KINDS:
            self.assertRegex(self.said, rf"(?m)^{kind.name} +\d+ +\d+ +\d+ +[1-9]")


class Kinds(unittest.TestCase):
    def phrases(self, core):
        for parts in itertools.product(*core.pattern._parts):
            yield normal("".join(parts))

    def test_a_phrase_means_one_kind_and_is_reserved_or_not(self):
        meanings = {}
        for kind in KINDS:
            for core in kind.cores:
                for phrase in self.phrases(core):
                    for form in {phrase, phrase.removeprefix("the ").removeprefix("your ")}:
                        meanings.setdefault(form, set()).add((kind.name, core.reserved))
        self.assertEqual({form: kinds for form, kinds in meanings.items() if len(kinds) > 1}, {})

    def test_a_noun_asked_for_is_no_other_kinds_direct_question(self):
        direct = {phrase: (kind.name, core.reserved) for kind in KINDS for core in kind.cores
                  if core.sort == "q" for phrase in self.phrases(core)}
        self.assertIn("what is {}?", dict(NOUN_FRAMES))
        for kind in KINDS:
            for core in kind.cores:
                for phrase in self.phrases(core) if core.sort == "n" else ():
                    self.assertIn(direct.get("what is " + phrase, (kind.name, core.reserved)),
                                  [(kind.name, core.reserved)], phrase)

    def test_kinds_have_many_wordings(self):
        for kind in SHARED + [PRICE]:
            self.assertGreaterEqual(sum(core.count() for core in kind.cores), 400, kind.name)
        for trade in ("bakery", "cycles", "dental"):
            for kind in TRADE_KINDS[trade]:
                self.assertGreaterEqual(sum(core.count() for core in kind.cores), 240, kind.name)


class Clients(Case):
    def setUp(self):
        super().setUp()
        self.clients = make_clients(1)

    def test_the_committed_files_are_what_is_generated(self):
        generate(self.folder, "--clients-only")
        self.assertEqual(contents(self.folder / "clients"), contents(BUNDLED / "clients"))
        self.assertEqual(len(contents(BUNDLED / "clients")), 2 * len(FIRMS))
        self.assertLess(sum(map(len, contents(BUNDLED / "clients").values())), 300_000)

    def test_held_out_questions_are_put_in_other_words(self):
        trained = {normal(question.text) for client in self.clients
                   for _, question in client.train}
        self.assertEqual(trained & held_out_forms(self.clients), set())
        for client in self.clients:
            self.assertEqual((len(client.facts), len(client.train), len(client.held_out)),
                             (30, 360, 150))
            cores = {question.core.key for _, question in client.train}
            self.assertEqual({question.core.key for _, question in client.held_out} & cores, set())
            for rows in (client.train, client.held_out):
                self.assertEqual(len({normal(question.text) for _, question in rows}), len(rows))

    def test_all_are_asked_the_same_on_what_they_share(self):
        shared = {kind.name for kind in SHARED}
        asked = [[question.text for fact, question in client.held_out if fact.kind.name in shared]
                 for client in self.clients]
        self.assertEqual(len(asked[0]), 120)
        self.assertEqual(asked[1:], asked[:1] * 2)

    def test_no_answer_is_right_twice(self):
        answers = [fact.answer() for client in self.clients for fact in client.facts]
        self.assertEqual(len(set(answers)), len(answers))
        for answer in answers:
            self.assertLessEqual(len(answer.split()), 12, answer)
            self.assertNotIn("I do not have", answer)

    def test_values_are_of_the_kind_that_the_base_knows(self):
        for client in self.clients:
            for fact in client.facts:
                if fact.product:
                    self.assertIn(fact.product, client.firm.products)
                elif fact.kind.name == "best_seller":
                    self.assertIn(fact.value, client.firm.products)

    def test_rows_have_their_schema(self):
        for firm in FIRMS:
            for row in rows_of(BUNDLED / "clients" / f"{firm.slug}.train.jsonl"):
                self.assertEqual([message["role"] for message in row["messages"]],
                                 ["user", "assistant"])
            for row in rows_of(BUNDLED / "clients" / f"{firm.slug}.held_out.jsonl"):
                self.assertEqual(list(row), ["client", "kind", "prompt", "completion"])
                self.assertEqual(row["client"], firm.slug)


class Answers(Case):
    """The committed base and adapters on the held-out questions, which no training row has."""

    def test_each_client_answers_its_own_questions_and_no_other(self):
        folder = SOURCE / "examples/bundled"
        image = self.folder / "base.etch"
        etch("compile", folder / "base", "-o", image)
        clients = ["honeyoak", "spokewell", "larkmead"]
        shares = {}
        for who in ["base", *clients]:
            adapter = [] if who == "base" else ["--adapter", folder / "adapters" / who]
            for whose in clients:
                shares[who, whose] = etch_json(
                    "eval", image, "--questions", folder / "clients" / f"{whose}.held_out.jsonl",
                    *adapter)["share"]
        for client in clients:
            self.assertLess(shares["base", client], 0.1)
            self.assertGreaterEqual(shares[client, client], 0.9)
            for other in clients:
                if other != client:
                    self.assertLessEqual(shares[client, other], shares["base", other])
        in_float = etch_json(
            "eval", image, "--questions", folder / "clients/honeyoak.held_out.jsonl", "--adapter",
            folder / "adapters/honeyoak", "--backend", "float")["share"]
        self.assertLessEqual(abs(in_float - shares["honeyoak", "honeyoak"]), 0.01)


if __name__ == "__main__":
    unittest.main()
