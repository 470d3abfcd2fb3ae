#!/usr/bin/env bash
# Training jobs that lose a process: they end with a sentence that names it, by their deadline, and leave nothing behind.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
shards=$2
timeout_ms=2000

# A job far longer than this test, once it trains.
begin_long_job() {
  begin "$hotrow" launch --shards 2 --workers 2 --grace-ms 20000 -- train --samples 100000000 --evaluations 0 \
    --timeout-ms $timeout_ms "$@"
  await grep -q 'samples/s' "$scratch/last.err"
}

check 'a job runs to its end; stdout is the result alone'
run "$hotrow" launch --shards 2 --workers 2 -- train --samples 20000 --steps 10 --json
expect_code 0
[[ $(wc -l <"$scratch/last.out") == 1 ]] || fail "stdout is not one line"
expect_out '^\{.*"workers": 2, "shards": 2,.*"steps": 10,.*\}$'
expect_nothing_left

check 'what the time of a step goes to, of one process, is the time of all steps'
run "$hotrow" launch --shards 1 --workers 1 -- train --samples 20000 --steps 10 --json
expect_code 0
field() { sed -n "s/.*[ {]\"$1\": *\([-0-9.e+]*\).*/\1/p" "$scratch/last.out"; }
parts="$(field read_seconds) + $(field lookup_seconds) + $(field dense_seconds) + $(field push_seconds) + $(field sum_seconds)"
awk "BEGIN { whole = $(field seconds); exit !(whole > 0 && ($parts - whole) ^ 2 < 1e-6 * whole ^ 2) }" || fail "$parts"
expect_out '"dense_seconds": 0\.0*[1-9].*"device_seconds": 0, '
expect_nothing_left

check 'every model trains, with what it takes'
models=(dcnv2 'dcnv2 --cross-layers 2 --cross-rank 4 --cross-stacked' 'dlrm --bottom 8,8')
[[ ! $brief ]] || models=('dlrm --bottom 8,8')
for model in "${models[@]}"; do
  # shellcheck disable=SC2086
  run "$hotrow" launch --shards 1 --workers 2 -- train --samples 40000 --batch 64 --model $model --json
  expect_code 0
  awk -F'"auc": ' '{ exit !($2 + 0 > 0.7) }' "$scratch/last.out" || fail "$model has learnt nothing"
done
run "$hotrow" train --shards tcp://127.0.0.1:1 --samples 1000 --model dlrm --bottom 8,,8
expect_code 78
expect_err 'bottom layers "8,,8": want sizes from 1 to 65536'
expect_nothing_left

check 'a device that is none'
run "$hotrow" train --shards tcp://127.0.0.1:1 --samples 1000 --device cuda:x
expect_code 78
expect_err 'device "cuda:x": want cpu, cuda or cuda:N'

check 'dense gradients by what --comm says'
run "$hotrow" launch --shards 1 --workers 2 -- train --samples 20000 --steps 10 --comm ring --json
expect_code 0
run "$hotrow" launch --shards 1 --workers 2 -- train --samples 20000 --steps 10 --comm nccl
expect_code 78
expect_err '\[worker [01]\] hotrow train: .*NCCL sums arrays on a GPU'
expect_nothing_left

check 'staleness by preset, look-ahead, a falling learning rate, and a report'
run "$hotrow" launch --shards 2 --workers 2 -- train --samples 20000 --batch 64 --steps 60 --preset bounded --pull-bound 40 \
  --cache-rows 20000 --lookahead 8 --lr-decay 0.1 --report "$scratch/report.html" --json
expect_code 0
expect_out '"pull_bound": 40, "push_bound": 70,.*"bytes_announce": .*"unseen_counts": \[[0-9,]+\]'
awk -F'"unseen_max": ' '{ exit !($2 + 0 <= 40) }' "$scratch/last.out" || fail "unseen_max is beyond the bound"
[[ $(grep -c '<svg' "$scratch/report.html") == 8 && ! -e $scratch/report.html.partial ]] || fail "the report is not whole"
run "$hotrow" launch --shards 1 --workers 2 -- train --samples 20000 --steps 10 --preset het-compat --cache-rows 20000 \
  --optimizer adam
expect_err 'COUNT_OCCURRENCES with optimizer 5, which takes steps one by one'
run "$hotrow" train --shards tcp://127.0.0.1:1 --report /nonexistent/report.html
expect_code 74
expect_err '/nonexistent/report.html'
expect_nothing_left

check 'the same job on shards that were started elsewhere'
HOTROW_PROGRAM=$hotrow "$shards" start 2 --dir "$scratch/run" --bind-base 'tcp://127.0.0.1:*' >"$scratch/exported" ||
  fail "shards.sh"
run env "$(cat "$scratch/exported")" "$hotrow" train --samples 20000 --steps 10 --json
expect_code 0
expect_out '"shards": 2,.*"steps": 10,'
HOTROW_PROGRAM=$hotrow "$shards" stop --dir "$scratch/run"
expect_nothing_left

for bounds in "" "--cache-rows 10000 --pull-bound 20 --push-bound 5"; do
  check "kill -9 of a worker ${bounds:-(exact)}"
  # shellcheck disable=SC2086
  begin_long_job $bounds
  strike 9 "HOTROW_RANK=1 "
  finish
  expect_code 137
  expect_err 'hotrow launch: worker 1 was killed by signal 9'
  # Whichever worker 0 was waiting for when the other died: its part of a sum, or its step at a shard.
  expect_err '\[worker 0\] hotrow train: .*(rank 1 has been silent|has not answered .*exact steps wait for every worker)'
  expect_within 10
  expect_nothing_left

  check "kill -9 of a shard ${bounds:-(exact)}"
  # shellcheck disable=SC2086
  begin_long_job $bounds
  strike 9 "--shard-first 1 "
  finish
  expect_code 69
  expect_err 'hotrow launch: shard 1 was killed by signal 9'
  for rank in 0 1; do
    expect_err "\[worker $rank\] hotrow train: .*(shard 1 at tcp://127\.0\.0\.1:[0-9]+|rank [01] has been silent)"
  done
  expect_err '\[worker [01]\] hotrow train: .*shard 1 at tcp://127\.0\.0\.1:[0-9]+'
  expect_no_err 'hotrow train: .*shard 0 at [^(]*$'
  expect_within 10
  expect_nothing_left
done

check 'SIGTERM ends the whole job'
begin_long_job
strike TERM ' launch '
finish
[[ $code == 143 || $code == 0 ]] || fail "exit code $code"
expect_within 10
expect_nothing_left

check 'kill -9 of the launcher leaves no orphan'
begin_long_job
strike 9 ' launch '
finish
expect_nothing_left
echo passed
