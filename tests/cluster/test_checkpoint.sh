#!/usr/bin/env bash
# Checkpoints of running jobs: kill -9 of everything and resume, the commands that look at them, and what is refused.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
saves=$scratch/saves
mkdir "$saves"

job=(--samples 80000 --batch 128 --steps 200 --evaluations 3 --epochs 2 --model deepfm --dim 8 --hidden 512,256 --dropout 0.2
  --lr-decay 0.3 --timeout-ms 20000)
optimizers=(adagrad adam) middles=(125 250 375)
if [[ $brief ]]; then
  job+=(--hidden 128,64)
  optimizers=(adam) middles=(250)
fi

kill_everything() {
  # shellcheck disable=SC2046
  kill -9 $(tagged) 2>/dev/null
  wait 2>/dev/null
}
is_there() { compgen -G "$saves/$1/CHECKPOINT" >/dev/null; }
newest() { find "$saves" -maxdepth 1 -name "$1-*" -printf '%f\n' | sort | tail -n 1; }
same() { cmp "$scratch/$1" "$scratch/$2" || fail "$1 and $2 differ"; }

for optimizer in "${optimizers[@]}"; do
  kind=(--optimizer "$optimizer")
  [[ $optimizer == adam ]] && kind+=(--storage-dtype bf16)
  check "${kind[*]}: a job that is killed and resumed, on as many shards and on others, gives the bits of one that was not"
  run "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" "${kind[@]}" --dump "$scratch/whole" --json
  expect_code 0
  [[ $(stat -c %s "$scratch/whole") -gt 1000000 ]] || fail "the dump is too small to prove anything"
  grep -o '"best_step.*"cache_hit_rate' "$scratch/last.out" | sed 's/, "cache.*//' >"$scratch/whole.scores"
  for shards in 1 3; do
    begin "$hotrow" launch --shards 1 --workers 2 --save-dir "$saves" -- train "${job[@]}" "${kind[@]}" \
      --checkpoint "run$shards" --every 20 --keep 2 --dump "$scratch/killed"
    await is_there "run$shards-*"
    kill_everything
    [[ ! -s $scratch/killed ]] || fail "the job was over before it was killed"
    from=$(newest "run$shards")
    echo "  $from, then $shards shards"
    run "$hotrow" launch --shards $shards --workers 2 --load "$saves/$from" --save-dir "$saves" -- train "${job[@]}" \
      "${kind[@]}" --resume --checkpoint "run$shards" --every 20 --keep 2 --dump "$scratch/resumed" --json
    expect_code 0
    expect_err "resumed at step $((10#${from#*-})), epoch 1"
    same whole resumed
    grep -o '"best_step.*"cache_hit_rate' "$scratch/last.out" | sed 's/, "cache.*//' | diff "$scratch/whole.scores" - ||
      fail "the scores differ"
    [[ $(find "$saves" -maxdepth 1 -name "*run$shards*" | wc -l) == 2 ]] || fail "not two are kept: $(ls -a "$saves")"
    run "$hotrow" launch --shards 2 --workers 2 --load "$saves/run$shards-0000000200" -- train "${job[@]}" \
      "${kind[@]}" --resume --dump "$scratch/over" --json
    expect_code 0
    same whole over
  done
  rm -rf "${saves:?}"/*
done

check 'the other way round: killed on 3 shards, over an epoch, one process that plays both ranks goes on on 1'
long=("${job[@]}" --steps 400)
run "$hotrow" launch --shards 2 --workers 2 -- train "${long[@]}" --dump "$scratch/whole" --json
expect_code 0
run "$hotrow" launch --shards 3 --workers 2 --save-dir "$saves" -- train "${long[@]}" --checkpoint all --every 125 --keep 0 \
  --dump "$scratch/with" --json
expect_code 0
same whole with
for step in "${middles[@]}"; do
  run "$hotrow" launch --shards 1 --workers 2 --load "$saves/all-0000000$step" --exec -- bash -c \
    "[[ \$HOTROW_RANK == 1 ]] || exec '$hotrow' train ${long[*]} --rank 0 --play-ranks --resume --dump '$scratch/played' --json"
  expect_code 0
  same whole played
done

check 'shards with a data directory are killed while they write: what has a name is whole, and the job is none the worse'
rm -rf "${saves:?}"/*
run "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" --dump "$scratch/whole" --json
expect_code 0
begin "$hotrow" launch --shards 2 --workers 2 --data-dir "$scratch/rows" --cut-interval-ms 50 --restart-shards \
  --save-dir "$saves" -- train "${job[@]}" --checkpoint struck --every 4 --keep 5 --dump "$scratch/struck" --json
await is_there 'struck-*'
for n in 0 1 0 1; do
  sleep 0.$((RANDOM % 4 + 2))
  # shellcheck disable=SC2046
  kill -9 $(tagged "--shard-first $n ") 2>/dev/null
done
finish
expect_err 'it is started again'
if [[ $code == 0 ]]; then # else a shard died in a barrier of the ranks, or with the last checkpoint in hand
  same whole struck
fi
for left in "$saves"/struck-*; do
  run "$hotrow" verify "$left"
  expect_code 0
done
run "$hotrow" launch --shards 3 --workers 2 --load "$saves/$(newest struck)" -- train "${job[@]}" --resume \
  --dump "$scratch/resumed" --json
expect_code 0
same whole resumed

check 'a job with bounds resumes too'
bounds=(--preset bounded --cache-rows 20000 --lookahead 8 --storage-dtype f16)
run "$hotrow" launch --shards 2 --workers 2 --save-dir "$saves" -- train "${job[@]}" "${bounds[@]}" --checkpoint loose \
  --every 80 --json
expect_code 0
run "$hotrow" launch --shards 3 --workers 2 --load "$saves/loose-0000000080" -- train "${job[@]}" "${bounds[@]}" --resume --json
expect_code 0
expect_out '"steps": 200,'

check 'inspect and verify'
one=$saves/loose-0000000160
run "$hotrow" inspect "$one"
expect_code 0
expect_out '^checkpoint of 20.*Z, format 1$'
expect_out '^step 160 of 2 ranks, blob of [0-9]+ bytes$'
expect_out ' rows of 1 tables, [0-9]+ bytes, written by 2 shards$'
expect_out '^  train +dim 9, f16, adagrad, [0-9]+ rows, [0-9]+ bytes$'
run "$hotrow" inspect "$one" --json
expect_out '^\{"kind": "checkpoint", "format": 1, "shards": 2, "ranks": 2, .*"step": 160, .*"tables": \[\{"name": "train", "dim": 9, "storage_dtype": "f16", '
python3 -m json.tool <"$scratch/last.out" >/dev/null || fail "not JSON"
run "$hotrow" verify "$one"
expect_code 0
expect_out "^$one: whole$"
for file in CHECKPOINT blob shard-1-of-2/MANIFEST shard-0-of-2/train.rows; do
  cp -r "$one" "$scratch/bad"
  size=$(stat -c %s "$scratch/bad/$file")
  byte=$(od -An -tu1 -j $((size / 2)) -N1 "$scratch/bad/$file")
  # shellcheck disable=SC2059
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$scratch/bad/$file" bs=1 seek=$((size / 2)) conv=notrunc status=none
  run "$hotrow" verify "$scratch/bad"
  expect_code 65
  expect_err "^hotrow verify: $scratch/bad/$file: its bytes do not match"
  run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --load "$scratch/bad"
  expect_code 65
  expect_err "^hotrow serve: $scratch/bad/$file: its bytes do not match"
  rm "$scratch/bad/$file"
  run "$hotrow" verify "$scratch/bad"
  expect_code 65
  expect_err "$file( is missing|: missing)"
  rm -r "$scratch/bad"
done
cp -r "$one" "$scratch/bad"
printf '\x07' | dd of="$scratch/bad/CHECKPOINT" bs=1 seek=8 conv=notrunc status=none
run "$hotrow" verify "$scratch/bad"
expect_code 65
expect_err 'CHECKPOINT: format version 7, this build reads 1'
for command in inspect verify; do
  run "$hotrow" $command "$scratch/none"
  expect_code 65
  expect_err "$scratch/none"
  run "$hotrow" $command
  expect_code 64
done

check 'a checkpoint of running shards, and a data directory made from one'
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --save-dir "$saves" --load "$one" --ready-file "$scratch/ready"
await test -e "$scratch/ready"
server=$running
shards=$(paste -sd, "$scratch/ready")
cp "$scratch/last.err" "$scratch/server.err"
run "$hotrow" checkpoint live --shards "$shards"
expect_code 0
run "$hotrow" verify "$saves/live"
expect_code 0
run "$hotrow" inspect "$saves/live"
expect_out 'of no one step'
rows() { "$hotrow" inspect "$1" --json | grep -o '"rows": [0-9]*' | head -n 1; }
[[ $(rows "$saves/live") == "$(rows "$one")" ]] || fail "not the rows that were loaded"
run "$hotrow" checkpoint ../up --shards "$shards"
expect_code 78
expect_err 'name begins with a dot'
run "$hotrow" checkpoint live
expect_code 64
run "$hotrow" checkpoint --shards "$shards"
expect_code 64
run "$hotrow" restore "$one" --data-dir "$scratch/data" --shards 3
expect_code 0
run "$hotrow" restore "$one" --data-dir "$scratch/data" --shards 3
expect_code 78
expect_err 'has tables'
run "$hotrow" restore "$scratch/bad" --data-dir "$scratch/data-2"
expect_code 78
mv "$scratch/ready" "$scratch/ready-1"
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 3 --data-dir "$scratch/data" --save-dir "$saves" --ready-file "$scratch/ready"
await test -e "$scratch/ready"
run "$hotrow" checkpoint again --shards "$(paste -sd, "$scratch/ready")"
expect_code 0
[[ $(rows "$saves/again") == "$(rows "$one")" ]] || fail "not the rows that were restored"

check 'what cannot be resumed'
refuse() { # OPTIONS...
  run "$hotrow" train --shards "$shards" --workers 2 --play-ranks "${job[@]}" "${bounds[@]}" --resume "$@"
}
for change in '--batch 64:initial_state' '--seed 2:another seed' '--hidden 64:dense parameters' \
  '--model wdl:model deepfm, this job has wdl' '--samples 70000:training samples'; do
  # shellcheck disable=SC2086
  refuse ${change%%:*}
  expect_code 78
  expect_err "${change#*:}"
done
run "$hotrow" train --shards "$(paste -sd, "$scratch/ready")" --workers 2 --play-ranks "${job[@]}" "${bounds[@]}" --resume
expect_code 65
expect_err 'was not started from a checkpoint'
refuse --steps 170
expect_code 0
refuse
expect_code 65
expect_err 'has taken pushes since it was started'
for words in '--checkpoint x' '--every 3' "--checkpoint $(printf 'x%.0s' {1..50}) --every 3"; do
  # shellcheck disable=SC2086
  run "$hotrow" train --shards "$shards" $words
  expect_code 64
done
kill "$server" "$running"
wait "$server" "$running"

check 'shards without a save directory, and one whose disk is full: training goes on, and the end says so'
run "$hotrow" launch --shards 2 --workers 2 --grace-ms 500 -- train "${job[@]}" --checkpoint x --every 50 --json
expect_code 69
expect_err 'without a save directory'
rm -rf "${saves:?}"/*
begin bash -c "trap '' XFSZ; ulimit -f 2000; exec '$hotrow' serve --bind 'tcp://127.0.0.1:*' --save-dir '$saves' --ready-file '$scratch/ready-full'"
await test -e "$scratch/ready-full"
server=$running
run "$hotrow" train --shards "$(<"$scratch/ready-full")" --workers 2 --play-ranks "${job[@]}" --hidden 16 \
  --checkpoint full --every 10 --json
expect_code 74
expect_err 'hotrow train: no checkpoint of step [0-9]+: .*train.rows: cannot write: File too large'
expect_out '"steps": 200,'
is_there "full-0*" || fail "none was made before the disk was full"
for left in "$saves"/full-*; do
  run "$hotrow" verify "$left"
  expect_code 0
done
[[ -z $(find "$saves" -maxdepth 1 -name '.*' -name '*.tmp') ]] || fail "something is left: $(ls -a "$saves")"

check 'a checkpoint that fails long before the end: the steps behind it do not hide that'
run "$hotrow" train --shards "$(<"$scratch/ready-full")" --workers 2 --play-ranks "${job[@]}" --hidden 16 \
  --checkpoint early --every 110 --json
expect_code 74
expect_err 'hotrow train: no checkpoint of step 110: .*train.rows: cannot write: File too large'
expect_err 'hotrow train: rank 0: .*: no checkpoint of step 110: '
expect_out '"steps": 200,'
! is_there 'early-*' || fail "it was made after all"
kill "$server"
wait "$server"
expect_nothing_left
echo passed
