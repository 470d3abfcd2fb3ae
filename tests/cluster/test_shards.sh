#!/usr/bin/env bash
# tools/launch/shards.sh: start, status, stop.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
shards=$2
export HOTROW_PROGRAM=$hotrow
dir=$scratch/run

check usage
for words in "" start "start 0 --dir $dir" "start x --dir $dir" "start 1 --nonsense 1" "stop --bind-base x" "nonsense" \
  "start 1 --dir $dir --bind-base nonsense" "start 1 --dir $dir --timeout soon"; do
  # shellcheck disable=SC2086
  run "$shards" $words
  expect_code 64
  expect_err usage
done
run "$shards" --help
expect_code 0

check 'start, status, stop'
run "$shards" status --dir "$dir"
expect_code 69
run "$shards" start 3 --dir "$dir" --bind-base 'tcp://127.0.0.1:*' --save-dir "$scratch"
expect_code 0
address='tcp://127\.0\.0\.1:[0-9]+'
expect_out "^HOTROW_SHARDS=$address,$address,$address\$"
[[ $(wc -l <"$scratch/last.out") == 1 ]] || fail "more than one line on stdout"
run "$shards" status --dir "$dir"
expect_code 0
expect_out "^shard 2 pid [0-9]+ $address serves\$"
run "$shards" start 1 --dir "$dir"
expect_code 75
(($(tagged serve | wc -l) == 3)) || fail "the second start changed something"

check 'a shard that died shows'
strike 9 '--shard-first 1 '
await bash -c "! kill -0 $(cut -d' ' -f1 "$dir/shard-1.pid")"
run "$shards" status --dir "$dir"
expect_code 69
expect_out '^shard 1 .* does not run$'
expect_out '^shard 0 .* serves$'
run "$shards" stop --dir "$dir"
expect_code 0
expect_nothing_left
run "$shards" stop --dir "$dir"
expect_code 0

check 'the pid of another process is left alone'
sleep 1000 &
innocent=$!
echo "$innocent 1" >"$dir/shard-0.pid"
run "$shards" stop --dir "$dir"
kill -0 "$innocent" || fail "stop killed a process that is none of its own"
kill -9 "$innocent"
wait "$innocent" 2>/dev/null

check 'one that cannot start takes the others with it, and says why'
run "$shards" start 2 --dir "$dir" --bind-base tcp://0.0.0.0:7117
expect_code 69
expect_err loopback
expect_nothing_left
run "$shards" start 2 --dir "$dir" --bind-base 'tcp://127.0.0.1:*' --load "$scratch/nothing"
expect_code 69
expect_err 'shard 0 ended before it served'
expect_nothing_left
echo passed
