"""No code for newer processors leaks out of the sources that are compiled for them.

An inline function of a header that a compiler does not inline becomes a weak symbol of the object.
The linker keeps one of all objects' equals, for the whole program: were it that of an object
compiled for AVX2, the program would end with SIGILL on a processor without, in code that has
nothing to do with kernels. So the objects of the engine's *_avx*.cc may define no weak symbol.

    isa_symbols_test.py NM OBJECT…      all objects of the engine
"""

import re
import subprocess
import sys
import unittest

NM, OBJECTS = "nm", []
WEAK = re.compile(r"^[0-9a-f]+ ([WVu]) (.+)$")


def weak_symbols(object_file):
    """The weak and unique symbols that an object defines, by name."""
    listing = subprocess.run([NM, "-C", object_file], check=True, capture_output=True, text=True)
    matches = map(WEAK.match, listing.stdout.splitlines())
    return [match.group(2) for match in matches if match]


class IsaSymbols(unittest.TestCase):
    def setUp(self):
        self.own = [name for name in OBJECTS if re.search(r"_avx\w*\.cc\.\w+$", name)]

    def test_objects_of_instruction_sets_define_no_weak_symbols(self):
        # Three sources of AVX2, five of AVX-512.
        self.assertGreaterEqual(len(self.own), 8, OBJECTS)
        found = {name: weak for name in self.own if (weak := weak_symbols(name))}
        self.assertEqual(found, {})

    def test_weak_symbols_are_seen(self):
        others = [name for name in OBJECTS if name not in self.own]
        self.assertTrue(any(weak_symbols(name) for name in others))


if __name__ == "__main__":
    NM, *OBJECTS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
