#!/usr/bin/env bash
# What a model learns on real data, with the defaults: the figures of the README. Skipped where the data is not there.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
data=${HOTROW_TEST_DATA:-$2}
if [[ ! -r $data/criteo80k/criteo80k.tsv.xz || ! -r $data/ml-1m/ratings.tsv.xz ]]; then
  echo "SKIPPED, no data: criteo80k and ml-1m are not under $data"
  [[ ${HOTROW_TEST_REQUIRE:-} != *data* ]] || exit 1
  exit 77
fi

train() { # OPTIONS...: the result is in $result
  run "$hotrow" launch --shards 2 --workers 2 -- train --json "$@"
  expect_code 0
  result=$(cat "$scratch/last.out")
  echo "$result"
}
field() { sed -n "s/.*\"$1\": *\([-0-9.e+]*\).*/\1/p" <<<"$result"; }
holds() { awk "BEGIN { exit !($1) }" || fail "$1 does not hold: $result"; }

# Whose bytes are not asked for is scored once, at the end: the last evaluation is the best in all of these.
once=(--evaluations 1)

check 'Wide&Deep on criteo80k'
train --data "$data/criteo80k/criteo80k.tsv.xz" --model wdl
exact_auc=$(field auc) exact_bytes=$(field wire_bytes_per_sample)
holds "$exact_auc >= 0.7656"
holds "$(field unseen_max) == 0"

check 'the same with rows of 16 bits'
for dtype in f16 bf16; do
  train --data "$data/criteo80k/criteo80k.tsv.xz" --model wdl --storage-dtype $dtype "${once[@]}"
  holds "$(field auc) >= $exact_auc - 0.002"
done

check 'with bounds of 100 and a cache: as good, fewer bytes'
train --data "$data/criteo80k/criteo80k.tsv.xz" --model wdl --cache-rows 100000 --pull-bound 100 --push-bound 100
holds "$(field auc) >= $exact_auc - 0.002"
holds "$(field wire_bytes_per_sample) < $exact_bytes"
holds "$(field unseen_max) <= 100"

check "the preset of bounds: half of the bytes, four flushes included"
train --data "$data/criteo80k/criteo80k.tsv.xz" --model wdl --cache-rows 200000 --preset bounded
holds "$(field auc) >= $exact_auc - 0.003"
holds "$(field wire_bytes_per_sample) < 0.6 * $exact_bytes"
holds "$(field unseen_max) <= 150"

check 'DeepFM on MovieLens 1M'
train --data "$data/ml-1m/ratings.tsv.xz" --model deepfm "${once[@]}"
holds "$(field auc) >= 0.8091"

check 'DCN-v2 and DLRM on criteo80k'
train --data "$data/criteo80k/criteo80k.tsv.xz" --model dcnv2 "${once[@]}"
holds "$(field auc) >= 0.7656"
train --data "$data/criteo80k/criteo80k.tsv.xz" --model dcnv2 --cross-rank 16 --cross-stacked "${once[@]}"
holds "$(field auc) >= 0.7636"
train --data "$data/criteo80k/criteo80k.tsv.xz" --model dlrm "${once[@]}"
holds "$(field auc) >= 0.7636"
