#!/usr/bin/env bash
# Installs the Debian 12 packages that Etch needs; does nothing, quickly, when all are there.
#
#   tools/setup_debian.sh [build|test|all]
#
#   build   what ./demo needs: compiler, CMake, libraries
#   test    also what ./check needs: test libraries, clang-format, QEMU, Node.js,
#           HAProxy (default)
#   all     also what ./check --all needs: clang-tidy, the fuzzers' run time
#
# Works as root, or through sudo. A Node.js that is already installed from elsewhere is kept.
set -euo pipefail

build=(build-essential g++ cmake ninja-build pkg-config ca-certificates curl python3
  libfmt-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libexpected-dev libpcre2-dev
  libboost1.81-dev libxxhash-dev libopenblas-dev libssl-dev libsqlite3-dev)
test=(git python3-jsonschema libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  clang-format-19
  verilator iverilog yosys
  qemu-user libopenmpi-dev openmpi-bin haproxy systemd)
all=(clang-19 clang-tidy-19 libclang-rt-19-dev python3-torch lintian)

group=${1:-test}
case "$group" in
  build) wanted=("${build[@]}") ;;
  test) wanted=("${build[@]}" "${test[@]}") ;;
  all) wanted=("${build[@]}" "${test[@]}" "${all[@]}") ;;
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "setup_debian: unknown group \"$group\"; build, test or all" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup_debian: not a Debian system; install the counterparts of: ${wanted[*]}" >&2
  exit 1
fi

installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${Package} ' 2>/dev/null) "
missing=()
for package in "${wanted[@]}"; do
  if [[ "$installed" != *"ii $package "* ]]; then
    # python3 and curl count as there when they come from elsewhere.
    case "$package" in
      python3 | curl | git) command -v "$package" >/dev/null && continue ;;
    esac
    missing+=("$package")
  fi
done
if [ "$group" != build ]; then
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
fi
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup_debian: these packages are missing and neither root nor sudo is at hand:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup_debian: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
