#!/usr/bin/env bash
# Checks that every C++ and CUDA source is as clang-format 19 leaves it.
#
#   tools/check_format.sh [--fix] [FILE…]      without files: all that git knows or would add
#
# Ends with 1 and names each file that is not. --fix rewrites them.
set -euo pipefail
cd "$(dirname "$0")/.."

fix=false
files=()
for argument in "$@"; do
  case "$argument" in
    --fix) fix=true ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "check_format: unknown option $argument" >&2; exit 2 ;;
    *) files+=("$argument") ;;
  esac
done

clang_format=${CLANG_FORMAT:-clang-format-19}
if ! command -v "$clang_format" >/dev/null; then
  echo "check_format: $clang_format is missing; tools/setup_debian.sh installs it" >&2
  exit 2
fi
if [ ${#files[@]} -eq 0 ]; then
  patterns=('*.h' '*.cc' '*.cu' '*.cuh')
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    listing=(git ls-files --cached --others --exclude-standard -- "${patterns[@]}")
  else
    listing=(find src tests fuzz bench -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh')
  fi
  while IFS= read -r file; do
    if [ -f "$file" ] && [[ "$file" != tests/golden/* ]]; then
      files+=("$file")
    fi
  done < <("${listing[@]}")
fi

if $fix; then
  "$clang_format" -i "${files[@]}"
  exit 0
fi
bad=()
for file in "${files[@]}"; do
  if ! "$clang_format" --dry-run --Werror "$file" >/dev/null 2>&1; then
    bad+=("$file")
  fi
done
if [ ${#bad[@]} -gt 0 ]; then
  printf '%s: not formatted\n' "${bad[@]}" >&2
  echo "check_format: ${#bad[@]} of ${#files[@]} files; --fix rewrites them" >&2
  exit 1
fi
echo "check_format: ${#files[@]} files are formatted"
