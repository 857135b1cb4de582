"""The same crash test a hundred times."""

import sys
import unittest

import tenants_test


class KilledOften(tenants_test.Killed):
    KILLS = 100


def load_tests(loader, _tests, _pattern):
    return loader.loadTestsFromTestCase(KilledOften)


if __name__ == "__main__":
    sys.exit(unittest.main())
