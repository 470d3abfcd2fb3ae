#!/usr/bin/env bash
# Checkpoints of shards with a data directory, which share their files with it, and data directories of another shard count.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
saves=$scratch/saves
mkdir "$saves"

job=(--samples 40000 --batch 128 --steps 120 --evaluations 2 --epochs 1 --model deepfm --dim 8 --hidden "256,128" --dropout 0.2
  --optimizer adam --lr-decay 0.3 --timeout-ms 20000)

kill_everything() {
  # shellcheck disable=SC2046
  kill -9 $(tagged) 2>/dev/null
  wait 2>/dev/null
}
there() { find "$saves" -maxdepth 1 -name "$1-*" -printf '%f\n' | sort; }
are_there() { [[ $(there "$1" | wc -l) -ge $2 ]]; }
same() { cmp "$scratch/$1" "$scratch/$2" || fail "$1 and $2 differ"; }
rows() { "$hotrow" inspect "$1" --json | grep -o '"rows": [0-9]*' | head -n 1; }

check 'a job that is killed and resumed, on other shards, with a data directory and without, gives the bits of one that was not'
run "$hotrow" launch --shards 1 --workers 2 -- train "${job[@]}" --dump "$scratch/whole" --json
expect_code 0
begin "$hotrow" launch --shards 2 --workers 2 --data-dir "$scratch/rows" --cut-interval-ms 50 --save-dir "$saves" -- train \
  "${job[@]}" --checkpoint run --every 20 --keep 3 --dump "$scratch/killed"
await are_there run 2
kill_everything
[[ ! -s $scratch/killed ]] || fail "the job was over before it was killed"
from=$saves/$(there run | tail -n 1)
[[ -n $(find "$from" -name '*.sst' -links +1) ]] || fail "$from shares no file with the data directory"
for left in "$saves"/run-*; do
  run "$hotrow" verify "$left"
  expect_code 0
done
cp -r "$from" "$scratch/kept"
for shards in 1 3; do
  data=()
  [[ $shards == 1 ]] || data=(--data-dir "$scratch/rows-$shards")
  run "$hotrow" launch --shards $shards --workers 2 --load "$scratch/kept" "${data[@]}" --save-dir "$saves" -- train \
    "${job[@]}" --resume --checkpoint "again$shards" --every 40 --keep 2 --dump "$scratch/resumed" --json
  expect_code 0
  same whole resumed
done
diff -r "$from" "$scratch/kept" || fail "what was loaded has changed"
[[ -n $(find "$saves" -path '*again3*' -name '*.sst' -links +2) ]] || fail "two checkpoints share no file"
run "$hotrow" launch --shards 2 --workers 2 --load "$saves/$(there again3 | tail -n 1)" -- train "${job[@]}" --resume \
  --dump "$scratch/over" --json
expect_code 0
same whole over

check 'inspect and verify'
one=$scratch/kept
run "$hotrow" inspect "$one"
expect_code 0
expect_out ' rows of 1 tables, [0-9]+ bytes, written by 2 shards$'
run "$hotrow" verify "$one"
expect_code 0
expect_out "^$one: whole$"
for file in shard-1-of-2/MANIFEST shard-0-of-2/CURRENT "$(cd "$one" && find shard-1-of-2 -name '*.sst' | head -n 1)"; do
  cp -r "$one" "$scratch/bad"
  size=$(stat -c %s "$scratch/bad/$file")
  byte=$(od -An -tu1 -j $((size / 2)) -N1 "$scratch/bad/$file")
  # shellcheck disable=SC2059
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$scratch/bad/$file" bs=1 seek=$((size / 2)) conv=notrunc status=none
  for command in "verify" "serve --bind tcp://127.0.0.1:* --load"; do
    # shellcheck disable=SC2086
    run "$hotrow" $command "$scratch/bad"
    expect_code 65
    expect_err "^hotrow ${command%% *}: $scratch/bad/$file: its bytes do not match"
  done
  cp "$one/$file" "$scratch/bad/$file"
  echo >>"$scratch/bad/$file"
  run "$hotrow" verify "$scratch/bad"
  expect_code 65
  expect_err "$file: "
  rm "$scratch/bad/$file"
  run "$hotrow" verify "$scratch/bad"
  expect_code 65
  expect_err "$file: missing"
  rm -r "$scratch/bad"
done

check 'a checkpoint is no data directory'
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --data-dir "$one"
expect_code 78
expect_err 'it is a checkpoint or save'
diff -r "$from" "$one" || fail "a server that refused it has changed it"

check 'a data directory of another shard count'
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 3 --data-dir "$scratch/rows"
expect_code 78
expect_err "hotrow restore $scratch/rows --data-dir NEW --shards 3"
cp -r "$scratch/rows" "$scratch/before"
run "$hotrow" restore "$scratch/rows" --data-dir "$scratch/three" --shards 3
expect_code 0
diff -r "$scratch/rows" "$scratch/before" || fail "what was restored from has changed"
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 3 --data-dir "$scratch/three" --save-dir "$saves" \
  --ready-file "$scratch/ready"
await test -e "$scratch/ready"
server=$running
run "$hotrow" checkpoint three --shards "$(paste -sd, "$scratch/ready")"
expect_code 0
run "$hotrow" restore "$scratch/three" --data-dir "$scratch/four"
expect_code 75
expect_err 'is in use: a server has shard 0 open'
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --load "$scratch/rows" --save-dir "$saves" --ready-file "$scratch/ready-1"
await test -e "$scratch/ready-1"
run "$hotrow" checkpoint one --shards "$(<"$scratch/ready-1")"
expect_code 0
[[ $(rows "$saves/three") == "$(rows "$saves/one")" ]] || fail "not the same rows"
[[ $(rows "$saves/one") != '"rows": 0' ]] || fail "no rows"
run "$hotrow" verify "$scratch/rows"
expect_code 78
expect_err 'a data directory, and no checkpoint'
kill "$server" "$running"
wait "$server" "$running"

check 'a disk that has no room for a copy: the job goes on, and the end says so'
if mkdir "$scratch/small" && mount -t tmpfs -o size=1m tmpfs "$scratch/small" 2>/dev/null; then
  trap 'umount "$scratch/small"; clean_up' EXIT
  run "$hotrow" launch --shards 1 --workers 2 --data-dir "$scratch/rows-full" --save-dir "$scratch/small" -- train "${job[@]}" \
    --checkpoint full --every 40 --json
  expect_code 74
  expect_err 'no checkpoint of step [0-9]+: .*No space left on device'
  expect_out '"steps": 120,'
  [[ -z $(ls -A "$scratch/small") ]] || fail "something is left: $(ls -A "$scratch/small")"
fi
expect_nothing_left
echo passed
