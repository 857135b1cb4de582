"""etch chip: what a model in silicon would measure, draw and cost."""

import html.parser
import json
import unittest

from program import DATA, SOURCE, WORK, Case, etch, etch_json, need_data

MODEL = "models/stories260K.gguf"
IMAGE = WORK / "chip-stories260k.etch"


def setUpModule():
    need_data(MODEL)
    etch("compile", DATA / MODEL, "-o", IMAGE)


class Links(html.parser.HTMLParser):
    """Collects what a page would load, and checks that its tags close."""

    def __init__(self):
        super().__init__()
        self.loads = []
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "rect", "line", "circle", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


class SiliconModel(Case):
    def test_hc1_closes_on_what_is_published(self):
        chip = etch_json("chip", "hc1")
        for metric, published, share in [("area_mm2", 815, 0.15), ("transistors", 53e9, 0.15),
                                         ("tokens_per_s_user", 16960, 0.15)]:
            value = chip[metric]["value"]
            self.assertLess(abs(value / published - 1), share, f"{metric} {value}")
        self.assertTrue(200 <= chip["card_w"]["value"] <= 250, chip["card_w"])
        self.assertLess(abs(chip["server_w"]["value"] / 2500 - 1), 0.15, chip["server_w"])
        ratio = chip["usd_per_mtoken"]["value"] / 0.0075
        self.assertTrue(1 / 1.5 < ratio < 1.5, ratio)
        self.assertEqual(chip["chips"]["value"], 1)
        self.assertIn("a clock of 1 GHz", chip["assumptions"])

    def test_every_figure_has_a_unit_and_a_range(self):
        for what in ("hc1", IMAGE):
            chip = etch_json("chip", what)
            figures = {name: one for name, one in chip.items()
                       if isinstance(one, dict) and "value" in one}
            self.assertGreater(len(figures), 20)
            for name, one in figures.items():
                self.assertTrue(0 <= one["low"] <= one["value"] <= one["high"], (name, one))
                self.assertTrue(one["unit"], name)
                self.assertLessEqual(len(one["most"]), 3, name)
                for most in one["most"]:
                    self.assertIn(most["input"], chip["inputs"])
            total = sum(block["area_mm2"] for block in chip["blocks"])
            self.assertAlmostEqual(total / figures["area_mm2"]["value"], 1)

    def test_an_image_is_the_chip_that_rtl_writes(self):
        chip = etch_json("chip", IMAGE, "--tech", "unit", "--lanes", 64)
        mine = etch_json("rtl", IMAGE, "-o", self.folder / "chip", "--lanes", 64)
        self.assertEqual(chip["choices"]["lanes"], 64)
        one = etch_json("chip", IMAGE, "--prompt", 1, "--output", 1)
        self.assertEqual(one["run_cycles"], mine["first_token_cycles"] + 1)
        adapter = etch_json("chip", IMAGE, "--prompt", 1, "--output", 1, "--with-adapter")
        self.assertEqual(adapter["run_cycles"], mine["first_token_cycles_adapter"] + 1)
        # A bit is a square micrometre in this technology.
        by_name = {block["name"]: block["area_mm2"] for block in chip["blocks"]}
        self.assertAlmostEqual(by_name["layers' weight ROM"], chip["counts"]["layer_bits"] / 1e6)

    def test_what_if(self):
        base = etch_json("chip", "hc1")
        more = etch_json("chip", "hc1", "--context", 12288, "--adapter-slots", 3)
        self.assertGreater(more["area_mm2"]["value"], base["area_mm2"]["value"])
        n3 = etch_json("chip", "hc1", "--tech", "n3")
        self.assertLess(n3["area_mm2"]["value"], base["area_mm2"]["value"])
        dear = etch_json("chip", "hc1", "--set", "wafer_usd=20000:15000:25000")
        self.assertGreater(dear["die_usd"]["value"], base["die_usd"]["value"])
        self.assertEqual(dear["inputs"]["wafer_usd"]["high"], 25000)
        pair = etch_json("chip", "hc1", "--compare", "roma")
        self.assertEqual([pair["left"]["name"], pair["right"]["name"]], ["hc1", "roma"])
        sweep = etch_json("chip", "hc1", "--sweep")
        self.assertTrue(any(point["best"] for point in sweep))
        self.assertGreater(len({point["layers_in_flight"] for point in sweep}), 3)

    def test_published_figures_are_predicted_or_explained(self):
        rows = etch_json("chip", "--published")
        names = {row["chip"].split(",")[0] for row in rows}
        self.assertLessEqual({"Taalas HC1", "ROMA", "HNLPU", "TOM", "BitROM"}, names)
        for row in rows:
            if not 1 / 1.3 <= row["ratio"] <= 1.3:
                self.assertTrue(row["explanation"], row)

    def test_the_report_is_one_page(self):
        out = self.folder / "hc1.html"
        etch("chip", "hc1", "--html", out)
        text = out.read_text(encoding="utf-8")
        page = Links()
        page.feed(text)
        self.assertEqual(page.loads, [])
        self.assertEqual(page.open, [])
        for word in ("Floorplan", "context SRAM", "Predicted beside published", "assumed:"):
            self.assertIn(word, text)

    def test_two_models_of_one_shape_differ_in_masks_only(self):
        other = self.folder / "other.etch"
        etch("compile", "--synthetic", "stories260k", "-o", other)
        masks = etch_json("chip", IMAGE, "--masks", "--compare", other)
        self.assertTrue(masks["same_fabric"])
        self.assertEqual(masks["audited_wrong"], 0)
        self.assertGreater(masks["audited_weights"], 250_000)
        self.assertTrue(0 < masks["bits_changed"] < masks["bits_compared"])
        same = etch_json("chip", IMAGE, "--masks", "--compare", IMAGE)
        self.assertEqual([same["files_changed"], same["bits_changed"]], [0, 0])
        small = self.folder / "small.etch"
        etch("compile", "--synthetic", "smollm-135m", "-o", small)
        self.assertIn("not of one shape", self.error("chip", IMAGE, "--masks", "--compare", small))

    def test_bad_input_has_one_clear_error(self):
        preset = json.loads((SOURCE / "data/chip/presets/hc1.json").read_text(encoding="utf-8"))
        preset["model"]["dim"] = "wide"
        (self.folder / "bad.json").write_text(json.dumps(preset), encoding="utf-8")
        tech = json.loads((SOURCE / "data/tech/n6.json").read_text(encoding="utf-8"))
        del tech["values"]["sram_cell_um2"]["unit"]
        (self.folder / "tech.json").write_text(json.dumps(tech), encoding="utf-8")
        for options, words in [
                (["hc9"], "presets are"),
                ([self.folder / "bad.json"], "model.dim: a whole number"),
                (["hc1", "--tech", self.folder / "tech.json"], "values.sram_cell_um2.unit"),
                (["hc1", "--tech", "n4"], "no technology \"n4\""),
                (["hc1", "--set", "wafer_usd"], "NAME=VALUE"),
                (["hc1", "--set", "wafer_usd=3:4:5"], "not in order"),
                (["hc1", "--prompt", 9000], "do not fit a context of 6144"),
                (["hc1", "--masks"], "--masks needs an image"),
                ([], "name an image, a preset")]:
            self.assertIn(words, self.error("chip", *options))


if __name__ == "__main__":
    unittest.main()
