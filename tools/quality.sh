#!/usr/bin/env bash
# What staleness costs in quality and saves in bytes: without a cache (exact), with HET's protocol and settings, and with
# Hotrow's bounds. 2 workers train on 2 shards, three seeds each, on the built-in stream with its planted teacher and on a
# Criteo TSV; then 8 workers count bytes and what copies lack (hotrow bench comm).
#   tools/quality.sh [--samples N] [--cache-rows N] [--batches N] [--out NAME] [DATA...]
# DATA: Criteo TSV or MovieLens ratings (plain, .gz, .xz). Prints two tables, means over the seeds; NAME.json has every
# result, NAME.html the plots and all runs, NAME.svg the plots alone. HOTROW_PROGRAM: a program to use instead of building.
set -euo pipefail
samples=1000000 cache_rows=200000 batches=4000 out=quality seeds=(1 2 3) data=()
while [ $# -gt 0 ]; do
  case "$1" in
    --samples) samples=$2; shift 2 ;;
    --cache-rows) cache_rows=$2; shift 2 ;;
    --batches) batches=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    *) data+=("$(realpath -e -- "$1")") || exit 66; shift ;;
  esac
done
out=$(realpath -m -- "$out")
results=$out.json
cd "$(dirname "$0")/.."

hotrow=${HOTROW_PROGRAM:-}
if [ -z "$hotrow" ]; then
  mkdir -p build
  cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
  cmake --build build/release --target hotrow_program >build/release.log 2>&1 || { tail -n 30 build/release.log; exit 1; }
  hotrow=build/release/bin/hotrow
fi

field() { # NAME LINE
  sed -n "s/.*\"$1\": \"\{0,1\}\([^,\"}]*\).*/\1/p" <<<"$2"
}

# The learning rate of SGD goes with the batch (gradients are those of its mean).
declare -A options=([sgd]="--optimizer sgd --lr 1" [adagrad]="--optimizer adagrad" [rowwise-adagrad]="--optimizer rowwise-adagrad")
declare -A exact_auc=()
run() { # CONFIG OPTIMIZER OPTIONS...: appends one line per seed and stream, with what is lost against the exact run
  local config=$1 optimizer=$2 seed stream line auc
  shift 2
  for stream in "" "${data[@]}"; do
    local source=(--samples "$samples")
    [ -z "$stream" ] || source=(--data "$stream")
    for seed in "${seeds[@]}"; do
      echo "== $config, $optimizer, seed $seed, ${stream:-built-in stream}" >&2
      # shellcheck disable=SC2086
      line=$("$hotrow" launch --shards 2 --workers 2 -- train --json --model wdl --evaluations 1 --seed "$seed" "${source[@]}" \
        ${options[$optimizer]} "$@")
      auc=$(field auc "$line")
      [ "$config" != "no cache" ] || exact_auc[$optimizer,$stream,$seed]=$auc
      printf '{"config": "%s", "optimizer": "%s", "auc_lost": %.6f, %s\n' "$config" "$optimizer" \
        "$(awk "BEGIN { print ${exact_auc[$optimizer,$stream,$seed]} - $auc }")" "${line#\{}" >>"$results"
    done
  done
}

: >"$results"
for optimizer in sgd adagrad rowwise-adagrad; do
  run "no cache" "$optimizer" --preset exact
  [ "$optimizer" != sgd ] || run het-compat "$optimizer" --preset het-compat --cache-rows "$cache_rows"
  run bounded "$optimizer" --preset bounded --cache-rows "$cache_rows"
done

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
  name = sprintf("%-14s %-16s %-16s", field("data"), field("optimizer"), field("config"))
  if (!(name in runs)) { order[++count] = name; most[name] = -1 }
  runs[name]++
  auc[name] += field("auc"); lost[name] += field("auc_lost"); bytes[name] += field("wire_bytes_per_sample")
  if (field("auc_lost") + 0 > most[name]) most[name] = field("auc_lost") + 0
}
END {
  printf "%-14s %-16s %-16s %8s %9s %9s %13s\n", "data", "optimizer", "config", "AUC", "lost", "at most", "bytes/sample"
  for (i = 1; i <= count; i++) {
    n = order[i]
    printf "%s %8.4f %9.4f %9.4f %13.0f\n", n, auc[n] / runs[n], lost[n] / runs[n], most[n], bytes[n] / runs[n]
  }
}' "$results"

echo "== bytes and what copies lack, 8 workers" >&2
"$hotrow" bench comm --dims 16 --batches "$batches" --json | sed 's/"config":"no-cache"/"config":"no cache"/; s/"config":"default"/"config":"bounded"/' |
  tee -a "$results" | awk -F'[:,]' '
function field(name,   i) { for (i = 1; i < NF; i++) if ($i == "\"" name "\"" || $i == "{\"" name "\"") return $(i + 1); return "" }
BEGIN { printf "\n%-16s %13s %10s %12s %10s\n", "config", "bytes/sample", "less", "unseen mean", "max" }
{ printf "%-16s %13.0f %9.1f%% %12.1f %10d\n", substr(field("config"), 2, length(field("config")) - 2), field("bytes_per_sample"), 100 * field("reduction"), field("unseen_mean"), field("unseen_max") }'

plots=(--title "Hotrow: quality, bytes and staleness" --series config --plots wire_bytes_per_sample:auc_lost,bytes_per_sample:unseen_mean)
"$hotrow" plot --html "$out.html" --svg "$out.svg" "${plots[@]}" \
  --columns config,optimizer,data,seed,auc,auc_lost,logloss,wire_bytes_per_sample,bytes_per_sample,reduction,cache_hit_rate,unseen_mean,unseen_max <"$results"
echo "plots: $out.html and $out.svg, results: $results" >&2
