#!/usr/bin/env bash
# Builds and runs the tests of the project's own rules (tests/repo): layering, sizes, words.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f build/release/build.ninja ]; then
  cmake --preset release >/dev/null
fi
cmake --build --preset release --target etch_repo_test >/dev/null
exec ./build/release/tests/repo/etch_repo_test --gtest_brief=1
