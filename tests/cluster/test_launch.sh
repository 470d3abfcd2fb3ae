#!/usr/bin/env bash
# hotrow launch with programs that know nothing of hotrow: what workers are told, and that all ends together.
# shellcheck source=cluster_lib.sh disable=SC2154,SC2016
. "$(dirname "$0")/cluster_lib.sh"

launch() { # OPTIONS... -- WORDS
  "$hotrow" launch --exec "$@"
}
workers_run() { (($(tagged "HOTROW_RANK=" sleep | wc -l) >= $1)); }

check usage
run "$hotrow" launch --workers 2
expect_code 64
expect_err 'after --'
run launch --workers 0 -- true
expect_code 64
expect_err "from 1 to 128"

check 'workers are told who they are, and only worker 0 keeps stdout'
run launch --shards 2 --workers 2 -- sh -c 'echo "$HOTROW_RANK of $HOTROW_WORKERS job $HOTROW_JOB at $HOTROW_SHARDS"; echo oops >&2; printf half'
expect_code 0
address='tcp://127\.0\.0\.1:[0-9]+'
job=$(sed -nE 's/^0 of 2 job ([1-9][0-9]*) at .*/\1/p' "$scratch/last.out")
[[ $(tail -n 1 "$scratch/last.out") == half && $(wc -l <"$scratch/last.out") == 1 ]] || fail "worker 0's stdout was touched"
expect_out "^0 of 2 job $job at $address,$address\$"
expect_err "^\[worker 1\] 1 of 2 job $job at $address,$address\$"
expect_err '^\[worker 0\] oops$'
expect_err '^\[worker 1\] oops$'
expect_err '^\[worker 1\] half$'
expect_err "^\[shard 1\] ready: $address\$"
expect_nothing_left
run launch -- sh -c 'echo "$HOTROW_JOB"'
[[ $(cat "$scratch/last.out") != "$job" ]] || fail "two runs have the same job number"

check 'long lines and many lines come through whole'
run launch --workers 3 -- sh -c 'i=0; while [ $i -lt 500 ]; do echo "line $i of $HOTROW_RANK end"; i=$((i+1)); done; head -c 10000 /dev/zero | tr "\0" x'
expect_code 0
[[ $(grep -cE '^\[worker [12]\] line [0-9]+ of [12] end$' "$scratch/last.err") == 1000 ]] || fail "lines were lost or mixed"
[[ $(grep -E '^\[worker 1\] x+$' "$scratch/last.err" | sed 's/^.* //' | tr -d '\n' | wc -c) == 10000 ]] || fail "a long line was cut"

check 'the first failing worker gives the exit code, the others have the grace period'
run launch --workers 3 --grace-ms 300 -- sh -c '[ "$HOTROW_RANK" = 1 ] && exit 7; sleep 1000 & sleep 1000'
expect_code 7
expect_err 'worker 1 ended with exit code 7; the workers have 300 ms to end'
expect_err 'worker 0 was killed by signal 15'
expect_within 5
expect_nothing_left
run launch --workers 2 --grace-ms 5000 -- sh -c '[ "$HOTROW_RANK" = 1 ] && exit 7; sleep 0.5; echo "ended by itself"; exit 9'
expect_code 7
expect_out 'ended by itself'
expect_within 4

check 'what a worker started ends with it'
run launch --workers 2 -- sh -c 'sleep 1000 & sleep 0.1'
expect_code 0
expect_within 5
expect_nothing_left

check 'a worker that ignores TERM is killed'
run launch --workers 2 --grace-ms 100 -- sh -c '[ "$HOTROW_RANK" = 1 ] && exit 3; trap "" TERM; sleep 1000'
expect_code 3
expect_err 'worker 0 was killed by signal 9'
expect_within 8
expect_nothing_left

check 'kill -9 of a worker'
begin launch --shards 2 --workers 2 --grace-ms 300 -- sleep 1000
await workers_run 2
strike 9 "HOTROW_RANK=1 "
finish
expect_code 137
expect_err 'worker 1 was killed by signal 9'
expect_nothing_left

check 'kill -9 of a shard'
begin launch --shards 2 --workers 2 --grace-ms 300 -- sleep 1000
await workers_run 2
strike 9 "--shard-first 1 "
finish
expect_code 69
expect_err 'shard 1 was killed by signal 9'
expect_no_err 'shard 0 (was|ended)'
expect_nothing_left

check 'a shard with a data directory is started again where it was'
run launch --restart-shards -- true
expect_code 64
expect_err 'needs --data-dir'
begin launch --shards 2 --workers 2 --data-dir "$scratch/data" --restart-shards -- sh -c 'while [ ! -e "$0" ]; do sleep 0.05; done' "$scratch/go"
await workers_run 2
for n in 2 3; do
  strike 9 "--shard-first 1 "
  await eval '(($(grep -c "^\[shard 1\] ready: " "$scratch/last.err") == n))'
done
touch "$scratch/go"
finish
expect_code 0
expect_err 'shard 1 was killed by signal 9 \(Killed\); it is started again'
[[ $(grep '^\[shard 1\] ready: ' "$scratch/last.err" | sort -u | wc -l) == 1 ]] || fail "another address"
expect_nothing_left
rm "$scratch/go"
begin launch --shards 2 --data-dir "$scratch/data" --restart-shards -- sh -c 'while [ ! -e "$0" ]; do sleep 0.05; done' "$scratch/go"
await workers_run 1
rm "$scratch/data/shard-0-of-2/CURRENT"
strike 9 "--shard-first 0 "
finish
expect_code 69
expect_err 'shard 0 ended with exit code 65'
expect_nothing_left

check 'SIGTERM, SIGINT and SIGHUP go to the workers'
for signal in TERM INT HUP; do
  begin launch --workers 2 -- sh -c "trap 'echo got $signal; exit 0' $signal; : ready; while sleep 0.05; do :; done"
  await workers_run 2
  sleep 0.2
  strike "$signal" ' launch '
  finish
  expect_code 0
  expect_out "got $signal"
  expect_err "^\[worker 1\] got $signal"
  expect_nothing_left
done
begin launch --workers 2 --grace-ms 20000 -- sleep 1000
await workers_run 2
strike TERM ' launch '
finish
expect_code 143
expect_within 8
expect_nothing_left

check 'a second signal does not wait'
begin launch --grace-ms 60000 -- sh -c 'trap "" INT; sleep 1000'
await workers_run 1
strike INT ' launch '
sleep 0.3
strike INT ' launch '
finish
expect_code 143
expect_within 10
expect_nothing_left

check 'workers that end silently at nearly the same moment are all noticed at once'
for _ in 1 2 3 4 5; do
  # shellcheck disable=SC2016
  run launch --shards 1 --workers 12 --grace-ms 30000 -- sh -c 'exec >&- 2>&-; sleep "0.0$((HOTROW_RANK % 4))"; exit 3'
  expect_code 3
  expect_within 10
done
expect_nothing_left

check 'kill -9 of the launcher leaves no orphan'
begin launch --shards 2 --workers 2 -- sleep 1000
await workers_run 2
strike 9 ' launch '
finish
expect_code 137
expect_nothing_left

check 'what cannot start'
run launch -- /nonexistent/program
expect_code 127
expect_err 'cannot run /nonexistent/program'
run launch --load /nonexistent/save --shards 2 -- sleep 1000
expect_code 69
expect_err '\[shard [01]\] hotrow serve: .*/nonexistent/save'
expect_nothing_left
run launch --ready-timeout-ms 1 --shards 4 -- sleep 1000
expect_code 69
expect_err 'shard [0-3] is not ready after 1 ms'
expect_within 12
expect_nothing_left
echo passed
