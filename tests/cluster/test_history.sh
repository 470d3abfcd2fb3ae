#!/usr/bin/env bash
# Every push exactly once, on real processes: workers of an asynchronous job are stopped, killed and replaced, then every
# bit that they pushed is looked at (history.h). First that the checks see what they are for: planted faults.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
# shellcheck source=history_lib.sh
. "$(dirname "$0")/history_lib.sh"
resend_s=1.2 # a client sends again what is unanswered for a second
server_pids=()

start_server() { # INDEX: two shards of four
  "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --shard-first $((2 * $1)) --shard-count 4 \
    --ready-file "$scratch/ready-$1" >"$scratch/server-$1.out" 2>"$scratch/server-$1.err" </dev/null &
  server_pids[$1]=$!
}
start_server 0
start_server 1
await test -e "$scratch/ready-0" -a -e "$scratch/ready-1"
shards=$(cat "$scratch/ready-0" "$scratch/ready-1" | paste -sd,)

expect_found() { # NAME WORDS
  check_history "$1"
  expect_code 1
  expect_out "$2"
}

check 'planted faults: the worker that reads sees them, and the checker a hole'
start_worker skip-seen 0 0 skip
start_worker twice-seen 1 0 twice
start_worker hole 2 0 hole blind
expect_end "${worker_pids[0]}" 1
grep -q 'worker 0 session 0 step 30: a worker reads its own steps' "$scratch/skip-seen-0-0.err" || fail "skip not seen"
expect_end "${worker_pids[1]}" 1
grep -q 'worker 1 session 0 step 30: a worker reads its own steps' "$scratch/twice-seen-1-0.err" || fail "twice not seen"
expect_end "${worker_pids[2]}" 0
expect_found hole '^worker 2 session 0 step [3-5][0-9] .*: is there, and .* before it is not'

check 'planted faults: the checker finds them'
start_worker skip 0 0 skip blind
start_worker twice 1 0 twice blind
start_worker secret 2 0 secret blind
for rank in 0 1 2; do
  expect_end "${worker_pids[$rank]}" 0
done
expect_found skip '^worker 0 session 0 step 30 .*: a flush confirmed it and it is not there: expected bits 0x'
expect_found twice '^worker 1 session 0 step 30 .*: is there more than once: expected bits 0x'
expect_found secret '^worker 2 session 0 step 30 .*: is there and was never handed in: expected bits 0x'

check 'planted faults: a worker whose successor does not end it'
start_worker unfenced 0 0 unfenced
await_records unfenced 0 10
old=${worker_pids[0]}
start_worker unfenced 0 1
expect_end "${worker_pids[0]}" 1
grep -q "worker 0 session 0 step .*: a worker's predecessor pushes no more" "$scratch/unfenced-0-1.err" || fail "not seen"
kill "$old"
expect_end "$old" 0
expect_found unfenced '^worker 0 session 0 step .*: is there and was handed in when a successor had the rank'

check 'planted faults: a push that is taken back'
start_worker undo 0 0 undo blind
start_worker undo 1 0
await_records undo 0 10
await_records undo 1 10
finish_worker 0
expect_end "${worker_pids[1]}" 1
grep -q 'reads .*: worker 0 session 0 step 0: what others pushed stays' "$scratch/undo-1-0.err" || fail "not seen"
expect_found undo '^worker 0 session 0 step 0 .*: a flush confirmed it and it is not there'

# Faults. Each takes a rank; another one, such as a killed server, is a function here and a word in the list below.
stop_worker() {
  let_work "$1"
  kill -STOP "${worker_pids[$1]}"
  sleep $resend_s
  kill -CONT "${worker_pids[$1]}"
}
kill_worker() {
  local old=${worker_pids[$1]}
  let_work "$1"
  kill -9 "$old"
  succeed "$1"
  expect_end "$old" 137
}
# Stopped, replaced, and then it goes on.
wake_zombie() {
  local old=${worker_pids[$1]}
  let_work "$1"
  kill -STOP "$old"
  await is_stopped "$old"
  succeed "$1"
  let_work "$1"
  kill -CONT "$old"
  expect_end "$old" 3
}
# Replaced while it works.
take_over() {
  local old=${worker_pids[$1]}
  let_work "$1"
  succeed "$1"
  expect_end "$old" 3
}
# Until some push came twice: once before the stop was over, once again because nobody answered.
stop_server() {
  local pid=${server_pids[$((RANDOM % 2))]} before
  before=$(repeats)
  for _ in 1 2 3 4 5 6; do
    kill -STOP "$pid"
    sleep $resend_s
    kill -CONT "$pid"
    for rank in 0 1 2; do
      await_records main $rank 1
    done
    (($(repeats) > before)) && return
  done
  fail "no push was sent again in six stops of a server"
}

faults=(stop_worker stop_worker stop_worker kill_worker kill_worker kill_worker kill_worker
  wake_zombie wake_zombie take_over stop_server)
check "${#faults[@]} faults, in an order by the seed"
for rank in 0 1 2; do
  start_worker main $rank 0
done
while ((${#faults[@]} > 0)); do
  at=$((RANDOM % ${#faults[@]})) rank=$((RANDOM % 3))
  echo "  ${faults[at]} $rank"
  "${faults[at]}" $rank
  unset "faults[at]"
  faults=("${faults[@]}")
done
for rank in 0 1 2; do
  await_records main $rank 1
  finish_worker $rank
done
check_history main
[[ $code == 0 ]] || fail "$(cat "$scratch/last.out")"
echo "  $(cat "$scratch/last.out"); $(repeats) pushes came again"
expect_out '^10 sessions, '
expect_out ' [1-9][0-9]* open '
expect_out ' [1-9][0-9]* after a successor$'

kill "${server_pids[@]}"
wait "${server_pids[@]}" || fail "a server ended with $?"
expect_nothing_left
echo passed
