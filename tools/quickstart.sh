#!/usr/bin/env bash
# Builds Hotrow, starts 2 shards and 2 workers on this machine, trains Wide&Deep, and says what came out of it.
#   tools/quickstart.sh [DATA]    DATA: Criteo TSV or MovieLens ratings (plain, .gz, .xz);
#                                 without it the built-in Criteo-shaped stream
set -euo pipefail
cd_from=$PWD
cd "$(dirname "$0")/.."

if [ $# -gt 1 ] || [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  sed -n '2,4s/^# \{0,1\}//p' "$0"
  exit $(($# > 1 ? 64 : 0))
fi
data=()
settings=(--model wdl)
if [ $# -eq 1 ]; then
  path=$(cd "$cd_from" && realpath -e -- "$1") || { echo "quickstart: there is no file $1" >&2; exit 66; }
  data=(--data "$path")
else
  settings+=(--optimizer rowwise-adagrad)
fi
cached=(--cache-rows 1000000 --preset bounded)
uncached=(--cache-rows 0 --pull-bound 100 --push-bound 10) # without a cache no push waits; only, no step waits for another

tools/install.sh build
echo "== building" >&2
mkdir -p build
cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
cmake --build build/release --target hotrow_program >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
hotrow=build/release/bin/hotrow

train() { # OPTIONS...: prints the JSON object of the run
  "$hotrow" launch --shards 2 --workers 2 -- train "${data[@]}" "${settings[@]}" "$@" --json
}
field() { # JSON NAME
  sed -n "s/.*\"$2\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" <<<"$1"
}
number() { # JSON NAME FORMAT
  LC_ALL=C printf "$3" "$(field "$1" "$2")"
}

echo "== training with a cache: a row that is read may lack 150 updates of the other worker, 70 own ones may wait" >&2
with=$(train "${cached[@]}")
echo "== the same without a cache, for comparison" >&2
without=$(train "${uncached[@]}")

bytes_with=$(field "$with" wire_bytes_per_sample)
bytes_without=$(field "$without" wire_bytes_per_sample)
saved=$(LC_ALL=C awk -v a="$bytes_with" -v b="$bytes_without" 'BEGIN { printf "%.0f", 100 * (1 - a / b) }')
ceiling=""
[ -z "$(field "$with" teacher_auc)" ] || ceiling=" (the planted teacher, the ceiling: $(number "$with" teacher_auc %.4f))"

cat <<TEXT

Wide&Deep on $(field "$with" data), 2 workers, 2 shards, $(number "$with" samples %.0f) samples in $(number "$with" seconds %.1f) s
  held-out AUC             $(number "$with" auc %.4f)$ceiling
  held-out logloss         $(number "$with" logloss %.4f)
  throughput               $(number "$with" samples_per_s %.0f) samples/s ($(number "$without" samples_per_s %.0f) without a cache)
  cache hit rate           $(LC_ALL=C awk -v h="$(field "$with" cache_hit_rate)" 'BEGIN { printf "%.1f", 100 * h }') % of distinct keys
  wire bytes per sample    $(number "$with" wire_bytes_per_sample %.0f), without a cache $(number "$without" wire_bytes_per_sample %.0f): $saved % less (AUC there $(number "$without" auc %.4f))
  largest staleness        $(number "$with" unseen_max %.0f) missing updates in a row that was used; its bound is $(number "$with" pull_bound %.0f)
TEXT
