#!/usr/bin/env bash
# Both bounds 0: rows and dense weights after 200 steps are the same bytes whatever the number of shards, from run to run,
# with a cache and without, with look-ahead and without, when shards are killed and started again, and for two processes
# as for one that plays both ranks.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
shards=$2

launch() { # SHARDS DUMP OPTIONS...
  local count=$1 dump=$2
  shift 2
  run "$hotrow" launch --shards "$count" --workers 2 -- train "${job[@]}" --dump "$scratch/$dump" --json "$@"
  expect_code 0
  [[ $(stat -c %s "$scratch/$dump") -gt 100000 ]] || fail "$dump is too small to prove anything"
}
same() { cmp "$scratch/$1" "$scratch/$2" || fail "$1 and $2 differ"; }

optimizers=(sgd adagrad rowwise-adagrad)
[[ ! $brief ]] || optimizers=(rowwise-adagrad)
for optimizer in "${optimizers[@]}"; do
  check "$optimizer"
  job=(--samples 40000 --batch 64 --steps 200 --evaluations 0 --model deepfm --dim 8 --hidden 16 --optimizer "$optimizer")
  [[ $optimizer == sgd ]] && job+=(--lr 0.5)
  [[ $optimizer == rowwise-adagrad ]] && job+=(--storage-dtype f16) # rounded by chance, the same in every run
  launch 1 one
  launch 1 again
  same one again
  launch 3 three
  same one three
  launch 3 cached --cache-rows 2000 --cache-policy lightlfu
  same one cached
  launch 2 unforeseen --cache-rows 100000 --lookahead 0
  same one unforeseen
  launch 2 foreseen --cache-rows 2000 --lookahead 16
  same one foreseen

  # Not while the ranks meet: what they leave for each other at a shard is not durable.
  for durability in cut log; do
    begin env HOTROW_LOG_LEVEL=debug "$hotrow" launch --shards 2 --workers 2 --data-dir "$scratch/$durability-$optimizer" \
      --durability $durability --cut-interval-ms 20 --restart-shards -- train "${job[@]}" --dump "$scratch/killed" --json
    await grep -qE 'debug: cut [0-9]+ durable, [1-9][0-9]{2,} rows' "$scratch/last.err"
    for n in 0 1 0 1; do
      sleep 0.25
      # shellcheck disable=SC2046
      kill -9 $(tagged "--shard-first $n ") 2>/dev/null
    done
    finish
    expect_code 0
    (($(grep -c 'it is started again' "$scratch/last.err") > 1)) || fail "no shard was killed in time"
    same one killed
  done

  HOTROW_PROGRAM=$hotrow "$shards" start 1 --dir "$scratch/run" --bind-base 'tcp://127.0.0.1:*' >"$scratch/exported" ||
    fail "shards.sh"
  run env "$(cat "$scratch/exported")" "$hotrow" train "${job[@]}" --workers 2 --play-ranks --dump "$scratch/played" --json
  expect_code 0
  HOTROW_PROGRAM=$hotrow "$shards" stop --dir "$scratch/run"
  same one played
done

check 'another seed gives other bytes, so the comparison can fail'
launch 1 other --seed 2
! cmp -s "$scratch/one" "$scratch/other" || fail "two seeds give the same bytes"
