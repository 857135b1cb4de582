"""Answers held to a schema, pattern or grammar, through the server and `etch run`, judged by
Python's own json, re and jsonschema."""

import concurrent.futures
import http.client
import json
import os
import re
import sys
import unittest

from program import DATA, Case, Server, etch, make_tiny_model, need_data

try:
    import jsonschema
except ImportError:
    if os.environ.get("CI"):
        raise
    jsonschema = None

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 12},
                   "age": {"type": "integer", "minimum": 0, "maximum": 130},
                   "mail": {"type": ["string", "null"], "maxLength": 10}},
    "required": ["name", "age"], "additionalProperties": False}

# Short enough that most answers end by themselves.
SCHEMAS = [
    {"type": "boolean"},
    {"type": "integer", "minimum": -20, "exclusiveMaximum": 1000},
    {"type": "number", "minimum": 0.5, "maximum": 2.25, "multipleOf": 0.25},
    {"enum": ["red", "green", 5, None, {"a": [1, True]}, "\u00e4\n\"x"]},
    {"const": {"kind": "point", "at": [0, -1.5]}},
    {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]+$", "maxLength": 9},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time", "maxLength": 30},
    {"type": "string", "format": "uuid"},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 2,
     "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}, {"enum": [1, 2]}], "items": False,
     "minItems": 2},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "contains": {"const": 3}, "maxItems": 4},
    PERSON,
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}},
     "patternProperties": {"^x": {"type": "null"}}, "required": ["b"],
     "additionalProperties": False, "maxProperties": 3},
    {"anyOf": [{"type": "null"}, PERSON, {"type": "array", "maxItems": 0}]},
    {"oneOf": [{"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"],
                "additionalProperties": False},
               {"type": "object", "properties": {"t": {"const": "b"}, "n": {"enum": [1]}},
                "required": ["t", "n"], "additionalProperties": False}]},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {
        "type": "object", "required": ["v", "kids"], "additionalProperties": False,
        "properties": {"v": {"enum": [0, 1]},
                       "kids": {"type": "array", "maxItems": 1,
                                "items": {"$ref": "#/$defs/tree"}}}}}},
    {"allOf": [PERSON, {"properties": {"name": {"pattern": "^[A-Z]"}}}]},
    {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [2]}},
     "dependentRequired": {"a": ["b"]}, "minProperties": 1, "additionalProperties": False},
]


def post(server, body, route="/v1/completions"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", route, json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def complete(server, **fields):
    status, answer = post(server, {"prompt": "Once upon a time", "max_tokens": 300, "seed": 1,
                                   **fields})
    assert status == 200, answer
    return answer["choices"]


class StructuredOutput(Case):
    def setUp(self):
        need_data("models/stories260K.gguf")
        super().setUp()
        self.image = self.folder / "stories.etch"
        etch("compile", DATA / "models/stories260K.gguf", "-o", self.image, "--name", "stories")

    @unittest.skipUnless(jsonschema, "python3-jsonschema is needed")
    def test_a_thousand_walks_are_valid(self):
        """At temperature 100 nearly every allowed token is as likely as another."""
        ended = 0
        with Server(self.image) as server:
            for index, schema in enumerate(SCHEMAS):
                validator = jsonschema.Draft202012Validator(
                    schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
                own = 0
                for seed in range(5):
                    for choice in complete(server, n=10, seed=seed, temperature=100,
                                           response_format={"type": "json_schema", "json_schema":
                                                            {"name": "x", "schema": schema}}):
                        if choice["finish_reason"] == "length":
                            continue
                        own += 1
                        value = json.loads(choice["text"])
                        errors = [error.message for error in validator.iter_errors(value)]
                        self.assertEqual(errors, [], (schema, choice["text"]))
                self.assertGreater(own, 5, (index, schema))
                ended += own
        self.assertGreater(ended, 800)

    def test_every_spelling_of_a_constraint_is_held(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                  "additionalProperties": False}
        spellings = [
            {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
            {"response_format": {"type": "json_object", "schema": schema}},
            {"guided_json": schema}, {"guided_json": json.dumps(schema)}, {"json_schema": schema},
            {"structured_outputs": {"json": schema}}]
        with Server(self.image) as server:
            texts = {complete(server, temperature=0, **spelling)[0]["text"]
                     for spelling in spellings}
            self.assertEqual(len(texts), 1)
            text = texts.pop()
            self.assertEqual(list(json.loads(text)), ["n"])
            for field in ({"guided_regex": "[a-c]{3}-[0-9]{2}"},
                          {"structured_outputs": {"regex": "[a-c]{3}-[0-9]{2}"}}):
                for choice in complete(server, n=8, temperature=5, **field):
                    self.assertRegex(choice["text"], r"^[a-c]{3}-[0-9]{2}$")
                    self.assertEqual(choice["finish_reason"], "stop")
            for field in ({"guided_choice": ["red", "green"]},
                          {"structured_outputs": {"choice": ["red", "green"]}}):
                found = {choice["text"] for choice in complete(server, n=16, temperature=100,
                                                               **field)}
                self.assertEqual(found, {"red", "green"})
            grammar = 'root ::= "(" root ")" | [xy]{2}  # nested'
            for field in ({"grammar": grammar}, {"guided_grammar": grammar},
                          {"structured_outputs": {"grammar": grammar}}):
                for choice in complete(server, n=4, temperature=1, **field):
                    self.assertTrue(re.fullmatch(r"\(*[xy]{2}\)*", choice["text"]))
                    self.assertEqual(choice["text"].count("("), choice["text"].count(")"))
            for choice in complete(server, n=8, temperature=1,
                                   response_format={"type": "json_object"}):
                if choice["finish_reason"] == "stop":
                    self.assertIsInstance(json.loads(choice["text"]), dict)

    def test_speculation_and_backends_change_nothing(self):
        fields = {"guided_json": {"type": "array", "items": PERSON, "minItems": 2, "maxItems": 3},
                  "temperature": 0.7, "n": 3}
        texts = []
        for options in (["--speculate", "off"], ["--speculate", "always"],
                        ["--backend", "reference"]):
            with Server(self.image, *options) as server:
                texts.append([choice["text"] for choice in complete(server, **fields)])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])

    def test_a_chat_answers_in_json(self):
        make_tiny_model(self.folder / "tiny")
        image = self.folder / "tiny.etch"
        etch("compile", self.folder / "tiny", "-o", image, "--name", "tiny")
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
                  "additionalProperties": False}
        with Server(image) as server:
            status, answer = post(server, {
                "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200, "seed": 4,
                "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
                "/v1/chat/completions")
            self.assertEqual(status, 200, answer)
            choice = answer["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop")
            self.assertIn(json.loads(choice["message"]["content"])["ok"], (True, False))

    def test_errors_name_the_field_and_the_keyword(self):
        cases = [
            ({"guided_json": {"properties": {"a/b": {"not": {}}}}}, "guided_json",
             "#/properties/a~1b: \"not\""),
            ({"response_format": {"type": "json_schema", "json_schema": {"schema": {
                "items": {"uniqueItems": True}}}}}, "response_format", "#/items: \"uniqueItems\""),
            ({"json_schema": {"minLenght": 5}}, "json_schema", "minLenght"),
            ({"guided_json": {"type": "integer", "minimum": 5, "maximum": 4}}, "guided_json",
             "no JSON text satisfies"),
            ({"guided_json": {"$ref": "http://example.com/x"}}, "guided_json", "$ref"),
            ({"guided_json": "{"}, "guided_json", "not JSON"),
            ({"guided_regex": "(a"}, "guided_regex", "\"(\" without"),
            ({"guided_regex": "((((a{100}){100}){100}){100})"}, "guided_regex", "too complex"),
            ({"grammar": "root ::= root \"a\" | \"b\""}, "grammar", "left recursion"),
            ({"grammar": "root ::= x"}, "grammar", "\"x\" is not defined"),
            ({"grammar": "root ::= \"a\"", "guided_regex": "a"}, "grammar", "guided_regex"),
            ({"response_format": {"type": "structural_tag"}}, "response_format", "structural_tag")]
        with Server(self.image) as server:
            for fields, param, words in cases:
                status, answer = post(server, {"prompt": "x", **fields})
                self.assertEqual(status, 400, answer)
                self.assertEqual(answer["error"]["param"], param, answer)
                self.assertEqual(answer["error"]["type"], "invalid_request_error")
                self.assertIn(words, answer["error"]["message"])
            self.assertEqual(complete(server, max_tokens=2)[0]["finish_reason"], "length")

    def test_many_constraints_at_once_stay_apart(self):
        def run(index):
            pattern = chr(ord("a") + index % 20) + "{5}"
            return index, complete(server, guided_regex=pattern, temperature=1)[0]["text"]

        with Server(self.image) as server:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for index, text in pool.map(run, range(60)):
                    self.assertEqual(text, chr(ord("a") + index % 20) * 5)

    def test_run_takes_files_and_patterns(self):
        (self.folder / "schema.json").write_text(json.dumps({"enum": ["yes", "no"]}))
        (self.folder / "rules.gbnf").write_text('root ::= "a" [0-9]')
        run = ["run", self.image, "-p", "Once", "--seed", "1"]
        self.assertIn(etch(*run, "--json-schema", self.folder / "schema.json").stdout.strip(),
                      ('"yes"', '"no"'))
        self.assertRegex(etch(*run, "--grammar", self.folder / "rules.gbnf").stdout, r"^a[0-9]\n$")
        self.assertRegex(etch(*run, "--regex", "[xy]{3}").stdout, r"^[xy]{3}\n$")
        (self.folder / "schema.json").write_text('{"not": {}}')
        self.assertIn("\"not\" is not supported",
                      self.error(*run, "--json-schema", self.folder / "schema.json"))


if __name__ == "__main__":
    sys.exit(unittest.main())
