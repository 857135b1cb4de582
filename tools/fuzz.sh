#!/usr/bin/env bash
# Fuzzes the parsers with libFuzzer under the address and undefined-behaviour sanitizers.
#
#   tools/fuzz.sh [TARGET…]      a target is the part before _fuzz: gguf, safetensors …; all without
#
#   FUZZ_SECONDS=600     time for each target
#   FUZZ_JOBS=N          targets at once, as many as processors by default
#
# Seeds come from tests/golden/corpus/TARGET, words from fuzz/TARGET.dict where there is one. What
# is
# found goes to out/fuzz/TARGET: the log, the grown corpus, and a file crash-…, timeout-… or oom-…
# for each finding. Ends with 1 after a finding.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
seconds=${FUZZ_SECONDS:-600}
jobs=${FUZZ_JOBS:-$(nproc)}

cmake --preset fuzz >/dev/null
mapfile -t known < <(ninja -C build/fuzz -t targets all |
  sed -n 's/^etch_\([a-z0-9_]*\)_fuzz: phony$/\1/p' | sort -u)
if [ ${#known[@]} -eq 0 ]; then
  echo "fuzz: no target is defined" >&2
  exit 1
fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=("${known[@]}")
fi
for target in "${targets[@]}"; do
  if [[ " ${known[*]} " != *" $target "* ]]; then
    echo "fuzz: no target \"$target\"; known are ${known[*]}" >&2
    exit 2
  fi
done
echo "fuzz: building ${#targets[@]} targets"
binaries=()
for target in "${targets[@]}"; do
  binaries+=("etch_${target}_fuzz")
done
mkdir -p out/fuzz
if ! ninja -C build/fuzz "${binaries[@]}" >out/fuzz/build.log 2>&1; then
  tail -40 out/fuzz/build.log >&2
  exit 1
fi

# Runs one target; leaves its exit status in out/fuzz/TARGET/status.
fuzz_one() {
  local target=$1 folder=out/fuzz/$1 binary options seeds=()
  binary=$(find build/fuzz -type f -name "etch_${target}_fuzz" | head -1)
  mkdir -p "$folder/corpus"
  options=("-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536
    -print_final_stats=1 "-artifact_prefix=$folder/")
  if [ -f "fuzz/$target.dict" ]; then
    options+=("-dict=fuzz/$target.dict")
  fi
  if [ -d "tests/golden/corpus/$target" ]; then
    seeds=("tests/golden/corpus/$target")
  fi
  local status=0
  "$binary" "${options[@]}" "$folder/corpus" "${seeds[@]}" >"$folder/log" 2>&1 || status=$?
  echo "$status" >"$folder/status"
}

echo "fuzz: $seconds s for each of: ${targets[*]}"
for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
    wait -n || true
  done
  fuzz_one "$target" &
done
wait

failed=0
for target in "${targets[@]}"; do
  folder=out/fuzz/$target
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log" | tail -1)
  coverage=$(grep -o 'cov: [0-9]*' "$folder/log" | tail -1 | cut -d' ' -f2 || true)
  if [ "$(cat "$folder/status")" -eq 0 ]; then
    printf '%-20s ok      %12s runs  %6s edges\n' "$target" "${runs:-0}" "${coverage:-0}"
  else
    printf '%-20s FAILED  see %s\n' "$target" "$folder/log"
    failed=$((failed + 1))
  fi
done
echo "$((${#targets[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
