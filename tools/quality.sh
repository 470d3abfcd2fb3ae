#!/usr/bin/env bash
# What staleness costs in quality and saves in bytes: 2 workers on 2 shards, exact, with HET's protocol and settings, and
# with Hotrow's bounds, three seeds each, on the built-in stream with its planted teacher and on a Criteo TSV.
#   tools/quality.sh [--samples N] [--cache-rows N] [--out FILE.html] [DATA...]
# DATA: Criteo TSV or MovieLens ratings (plain, .gz, .xz). Prints a table of the means over the seeds; every run is a line
# of FILE.json, and FILE.html has the plots. HOTROW_PROGRAM: the program to use instead of one built here.
# het-compat counts occurrences, as HET's code does, which only SGD can; so all three are run with SGD, and exact and
# bounded with Adagrad too.
set -euo pipefail
samples=1000000 cache_rows=200000 out=quality.html seeds=(1 2 3) data=()
while [ $# -gt 0 ]; do
  case "$1" in
    --samples) samples=$2; shift 2 ;;
    --cache-rows) cache_rows=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    *) data+=("$(realpath -e -- "$1")") || exit 66; shift ;;
  esac
done
out=$(realpath -- "$out")
results=${out%.html}.json
cd "$(dirname "$0")/.."

hotrow=${HOTROW_PROGRAM:-}
if [ -z "$hotrow" ]; then
  mkdir -p build
  cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
  cmake --build build/release --target hotrow_program >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
  hotrow=build/release/bin/hotrow
fi

# The learning rate of SGD goes with the batch (gradients are those of its mean).
sgd=(--optimizer sgd --lr 1)
run() { # CONFIG OPTIONS...: appends one line per seed and stream
  local config=$1 seed stream line
  shift
  for stream in "" "${data[@]}"; do
    local source=(--samples "$samples")
    [ -z "$stream" ] || source=(--data "$stream")
    for seed in "${seeds[@]}"; do
      echo "== $config, seed $seed, ${stream:-built-in stream}" >&2
      line=$("$hotrow" launch --shards 2 --workers 2 -- train --json --model wdl --evaluations 1 --seed "$seed" "${source[@]}" "$@")
      echo "{\"config\": \"$config\", ${line#\{}" >>"$results"
    done
  done
}

: >"$results"
run "exact, SGD" --preset exact "${sgd[@]}"
run "het-compat, SGD" --preset het-compat --cache-rows "$cache_rows" "${sgd[@]}"
run "bounded, SGD" --preset bounded --cache-rows "$cache_rows" "${sgd[@]}"
run "exact, Adagrad" --preset exact
run "bounded, Adagrad" --preset bounded --cache-rows "$cache_rows"

# Means over the seeds, in the order of the runs.
awk '
function field(name,   at, rest) {
  at = index($0, "\"" name "\": ")
  if (at == 0) return ""
  rest = substr($0, at + length(name) + 4)
  gsub(/^"/, "", rest)
  return substr(rest, 1, match(rest, /["}]|, "/) - 1)
}
{
  name = sprintf("%-18s %-14s", field("config"), field("data"))
  if (!(name in runs)) order[++count] = name
  runs[name]++
  auc[name] += field("auc"); bytes[name] += field("wire_bytes_per_sample"); unseen[name] += field("unseen_mean")
  if (field("unseen_max") + 0 > most[name]) most[name] = field("unseen_max") + 0
  if (runs[name] == 1 || field("auc") < low[name]) low[name] = field("auc")
  if (runs[name] == 1 || field("auc") > high[name]) high[name] = field("auc")
}
END {
  printf "%-18s %-14s %8s %17s %13s %12s %10s\n", "config", "data", "AUC", "over seeds", "bytes/sample", "unseen mean", "max"
  for (i = 1; i <= count; i++) {
    n = order[i]
    printf "%s %8.4f %8.4f..%.4f %13.0f %12.2f %10d\n", n, auc[n] / runs[n], low[n], high[n], bytes[n] / runs[n], unseen[n] / runs[n], most[n]
  }
}' "$results"
"$hotrow" plot --html "$out" --title "Hotrow: quality, bytes and staleness" --series config --log \
  --plots wire_bytes_per_sample:auc,wire_bytes_per_sample:unseen_mean,unseen_mean:auc \
  --columns config,data,seed,auc,logloss,wire_bytes_per_sample,cache_hit_rate,unseen_mean,unseen_max <"$results"
echo "plots: $out, runs: $results" >&2
