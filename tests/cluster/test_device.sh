#!/usr/bin/env bash
# Dense layers on a GPU (real or emulated): the models learn what they learn on the CPU, runs repeat themselves to the bit,
# and jobs go on from checkpoints, on either device. Without a GPU: the refusal, and that is a skip.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
rung=$2

field() { sed -n "s/.*[ {]\"$1\": *\([-0-9.e+]*\).*/\1/p" "$scratch/last.out"; }
scores() { grep -o '"best_step.*"cache_hit_rate' "$scratch/last.out"; }
same() { cmp "$scratch/$1" "$scratch/$2" || fail "$1 and $2 differ"; }

check 'a GPU, or a sentence that says why there is none'
run "$hotrow" train --shards tcp://127.0.0.1:1 --samples 1000 --device cuda --timeout-ms 300
if ! grep -q 'tcp://127.0.0.1:1' "$scratch/last.err"; then
  expect_err 'hotrow train: rank 0: .*(this build has no CUDA|no usable GPU|this machine has no GPU|cuBLAS cannot be opened)'
  [[ $code == 69 || $code == 71 ]] || fail "exit code $code"
  echo "SKIPPED, no cuda: $(cat "$scratch/last.err")"
  [[ ${HOTROW_TEST_REQUIRE:-} != *cuda* ]] || exit 1
  exit 77
fi
expect_code 69

export HOTROW_COMM=ring # both workers have the one GPU, which NCCL does not take twice
job=(--samples 4000 --batch 64 --steps 24 --evaluations 1 --dim 8 --hidden "24,16" --bottom 12 --dropout 0.2 --l2 1e-4 --json)
for model in wdl deepfm dcnv2 'dcnv2 --cross-rank 5 --cross-stacked' dlrm; do
  check "$model: as on the CPU"
  # shellcheck disable=SC2206
  kind=(--model $model)
  run "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" "${kind[@]}"
  expect_code 0
  auc=$(field auc) logloss=$(field logloss) train_logloss=$(field train_logloss)
  run env HOTROW_DEVICE=cuda "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" "${kind[@]}" \
    --dump "$scratch/processes"
  expect_code 0
  result=$(scores)
  awk "function far(a, b) { return (a - b) ^ 2 > 1e-8 }
    BEGIN { exit far($auc, $(field auc)) || far($logloss, $(field logloss)) || far($train_logloss, $(field train_logloss)) }" ||
    fail "the CPU has auc $auc, logloss $logloss, train_logloss $train_logloss"
  if [[ $rung == emulated ]]; then # a real NCCL wants two GPUs
    run env HOTROW_EMULATOR_NCCL=on "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" "${kind[@]}" --device cuda \
      --comm nccl --dump "$scratch/nccl"
    expect_code 0
    same processes nccl
    [[ $(scores) == "$result" ]] || fail "over a ring: $result"
  fi
done

check 'one process that plays both ranks gives the bits of two'
run "$hotrow" launch --shards 1 --workers 1 -- train "${job[@]}" "${kind[@]}" --device cuda --workers 2 --play-ranks \
  --dump "$scratch/played"
expect_code 0
same processes played

check 'a job goes on from its checkpoint, with the bits of one that was not interrupted; and on the CPU'
mkdir "$scratch/saves"
run "$hotrow" launch --shards 1 --workers 2 --save-dir "$scratch/saves" -- train "${job[@]}" "${kind[@]}" --device cuda \
  --checkpoint run --every 10
expect_code 0
for device in cuda cpu; do
  run "$hotrow" launch --shards 1 --workers 2 --load "$scratch/saves/run-0000000010" -- train "${job[@]}" "${kind[@]}" \
    --device $device --resume --dump "$scratch/$device"
  expect_code 0
  expect_err 'resumed at step 10'
done
same processes cuda
awk "BEGIN { exit ($auc - $(field auc)) ^ 2 > 1e-8 }" || fail "the CPU went on elsewhere: auc $auc before"

if [[ $rung == emulated ]]; then
  check 'workers of a machine take its GPUs in turn, or the one that is named'
  export HOTROW_LOG_LEVEL=info HOTROW_EMULATOR_DEVICES=2
  few=(--samples 4000 --batch 64 --steps 2 --evaluations 0 --dim 8 --hidden 8 --json)
  run "$hotrow" launch --workers 3 -- train "${few[@]}" --device cuda
  expect_code 0
  for rank in 0 1 2; do
    expect_err "rank $rank uses device cuda:$((rank % 2)) of 2"
  done
  run env HOTROW_DEVICE=cuda:1 "$hotrow" launch --workers 2 -- train "${few[@]}"
  expect_code 0
  expect_err 'rank 0 uses device cuda:1 of 2'
  expect_err 'rank 1 uses device cuda:1 of 2'
  run "$hotrow" launch --workers 1 -- train "${few[@]}" --device cuda --local-rank 3
  expect_code 0
  expect_err 'rank 0 uses device cuda:1 of 2'
  run "$hotrow" train --shards tcp://127.0.0.1:1 "${few[@]}" --device cuda:2
  expect_code 78
  expect_err 'hotrow train: rank 0: .*device cuda:2: this machine has 2, counted from 0'
  unset HOTROW_LOG_LEVEL HOTROW_EMULATOR_DEVICES

  check 'kill -9 of a worker whose gradients NCCL sums: the other ends by its deadline, and says what it waited for'
  export HOTROW_EMULATOR_NCCL=on
  begin "$hotrow" launch --shards 2 --workers 2 --grace-ms 30000 -- train --samples 100000000 --batch 16 --dim 8 --hidden 8 \
    --evaluations 0 --device cuda --comm nccl --cache-rows 10000 --preset bounded --timeout-ms 3000
  await grep -q 'samples/s' "$scratch/last.err"
  strike 9 'HOTROW_RANK=1 '
  finish
  expect_code 137
  expect_err 'hotrow launch: worker 1 was killed by signal 9'
  expect_err '\[worker 0\] hotrow train: rank 0: .*all-reduce [0-9]+ of [0-9]+ floats is not done after 3000 ms: a rank is lost or late'
  expect_err '\[worker 0\] hotrow train: rank 0: .*NCCL does not know which'
  expect_err 'worker 0 ended with exit code 69'
fi
expect_nothing_left
echo passed
