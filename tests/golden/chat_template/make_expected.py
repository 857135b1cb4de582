#!/usr/bin/env python3
"""Writes expected_by_jinja2.json: what Jinja2 makes of the templates that the tests render.

Usage: make_expected.py DATA_FOLDER   (needs the package jinja2; made with 3.1.6)

The environment is that of transformers' chat templates: sandboxed and immutable, trim_blocks and
lstrip_blocks, break and continue, generation, its tojson, raise_exception and strftime_now. An
expectation is a text, or {"error": message}. Long texts are kept as their size and FNV-1a hash.
"""

import datetime
import json
import pathlib
import sys

import jinja2
from jinja2 import ext, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
CLOCK = datetime.datetime(2025, 7, 10, 12, 0, 0)  # that of the vectors of huggingface.js


class Generation(ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def render(template, context):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = CLOCK.strftime
    try:
        return environment.from_string(template).render(**context)
    except Exception as error:  # whatever a template can raise
        return {"error": str(error)}


def digest(text):
    if not isinstance(text, str):
        return text
    value = 0xCBF29CE484222325
    data = text.encode()
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return {"bytes": len(data), "fnv1a": f"{value:016x}"}


def main():
    data = pathlib.Path(sys.argv[1]) / "templates"
    contexts = json.loads((HERE / "contexts.json").read_text())
    features = json.loads((HERE / "features.json").read_text())
    expected = {"jinja2": jinja2.__version__, "features": {}, "models": {}, "huggingface_js": {}}
    for template in features["templates"]:
        expected["features"][template] = render(template, features["context"])
    for path in sorted((data / "jinja").glob("*.jinja")):
        expected["models"][path.name] = {
            name: digest(render(path.read_text(), context)) for name, context in contexts.items()}
    # Only where Jinja2 and the JavaScript engine disagree.
    for name in ("hfjs_jinja_unit_vectors.json", "hfjs_jinja_e2e_vectors.json"):
        for case in json.loads((data / name).read_text())["cases"]:
            text = render(case.get("template", case.get("chat_template")),
                          case.get("context", case.get("data")))
            if text != case["expected"]:
                expected["huggingface_js"][case["name"]] = text
    out = json.dumps(expected, ensure_ascii=False, indent=1)
    (HERE / "expected_by_jinja2.json").write_text(out + "\n")


if __name__ == "__main__":
    main()
