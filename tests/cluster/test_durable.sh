#!/usr/bin/env bash
# Every push exactly once while shards with a data directory are killed with -9 at any moment, also while they load or
# write, and started again: workers keep what is not durable and send it again. HOTROW_TEST_KILLS says how often.
# HOTROW_TEST_DURABILITY=log: with a log beside the cuts (ctest has it as cluster.durable.log).
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
# shellcheck source=history_lib.sh
. "$(dirname "$0")/history_lib.sh"
durability=${HOTROW_TEST_DURABILITY:-cut}
kills=${HOTROW_TEST_KILLS:-$([[ $durability == log || $brief ]] && echo 12 || echo 30)}
servers=3 server_pids=() addresses=('tcp://127.0.0.1:*' 'tcp://127.0.0.1:*' 'tcp://127.0.0.1:*')
rounds=$(((kills + 29) / 30)) # a session has bits for so many kills; a rank has eight sessions, one for its own fault
((rounds <= 7)) || fail "HOTROW_TEST_KILLS is $kills, at most 210"
worker_options=(none restarts)

start_server() { # INDEX. Often there is a cut on its way, or much that is in none
  rm -f "$scratch/ready-$1"
  local interval=$((RANDOM % 2 ? 1 : 100))
  [[ $durability == log ]] && interval=$((RANDOM % 2 ? 50 : 3600000)) # records behind a cut, or behind none for long
  "$hotrow" serve --bind "${addresses[$1]}" --shard-first "$1" --shard-count $servers --data-dir "$scratch/data" \
    --durability "$durability" --cut-interval-ms $interval --ready-file "$scratch/ready-$1" >>"$scratch/server-$1.out" 2>>"$scratch/server-$1.err" </dev/null &
  server_pids[$1]=$!
}
is_ready_or_gone() { [[ -e $scratch/ready-$1 ]] || is_gone "${server_pids[$1]}"; }
await_server() { # INDEX
  await is_ready_or_gone "$1"
  [[ -e $scratch/ready-$1 ]] || fail "server $1 does not start again"
}
kill_server() { # INDEX
  kill -9 "${server_pids[$1]}"
  wait "${server_pids[$1]}" 2>/dev/null
}
pause_ms() { sleep "$(printf '0.%03d' "$1")"; }

for ((i = 0; i < servers; i++)); do start_server $i; done
for ((i = 0; i < servers; i++)); do
  await_server $i
  addresses[i]=$(<"$scratch/ready-$i")
done
shards=$(IFS=,; echo "${addresses[*]}")

# Faults: each is one kill, and takes a server.
kill_one() {
  kill_server "$1"
  start_server "$1"
}
kill_and_leave() { # gone for a while
  kill_server "$1"
  pause_ms $((RANDOM % 900))
  start_server "$1"
}
kill_while_it_starts() {
  kill_server "$1"
  start_server "$1"
  pause_ms $((RANDOM % 60))
  kill_server "$1"
  start_server "$1"
}
kill_two() {
  local other=$((($1 + 1) % servers))
  kill_server "$1"
  kill_server $other
  start_server $other
  start_server "$1"
}
stop_in_order() { # makes a last cut
  kill "${server_pids[$1]}"
  wait "${server_pids[$1]}" || fail "server $1 ended with $?"
  start_server "$1"
}
faults=(kill_one kill_one kill_one kill_and_leave kill_while_it_starts kill_two stop_in_order)

check "$kills kills of shards in $rounds sessions of three workers"
for rank in 0 1 2; do start_worker main $rank 0 "${worker_options[@]}"; done
for ((n = 1; n <= kills; n++)); do
  let_work $((RANDOM % 3))
  fault=${faults[RANDOM % ${#faults[@]}]} at=$((RANDOM % servers))
  echo "  $n: $fault $at"
  $fault $at
  for ((i = 0; i < servers; i++)); do await_server $i; done
  if ((n % 30 == 0 && n < kills)); then
    for rank in 0 1 2; do finish_worker $rank; done
    for rank in 0 1 2; do succeed $rank; done
  fi
  if ((n == kills / 2)); then # a worker too: what it had is open
    let_work 1
    old=${worker_pids[1]}
    kill -9 "$old"
    expect_end "$old" 137
    succeed 1
    old=${worker_pids[0]} # and one is replaced while it works, and a shard dies: it must not get its rank back
    let_work 0
    succeed 0
    let_work 0
    kill_one $((RANDOM % servers))
    expect_end "$old" 3
  fi
done
for rank in 0 1 2; do
  await_records main $rank 1
  finish_worker $rank
done
check_history main
[[ $code == 0 ]] || fail "$(cat "$scratch/last.out")"
echo "  $(cat "$scratch/last.out")"
expect_out ' [1-9][0-9]* confirmed, '

check 'all servers start again, and everything is there'
for ((i = 0; i < servers; i++)); do kill_server $i; done
for ((i = 0; i < servers; i++)); do start_server $i; done
for ((i = 0; i < servers; i++)); do await_server $i; done
check_history main
[[ $code == 0 ]] || fail "$(cat "$scratch/last.out")"

check 'a disk that fails: reads go on, the exit code is 74, and nothing is lost when the server comes back'
start_worker full 0 0 none restarts
await_records full 0 5
kill_server 0
(ulimit -f 3000 && start_server 0 && echo "${server_pids[0]}" >"$scratch/limited" && wait "${server_pids[0]}"
  echo $? >"$scratch/limited-code") &
is_degraded() { grep -q 'File too large' "$scratch/server-0.err"; }
await is_degraded
repeats >/dev/null # it is served; whether it can flush now is another matter
kill "$(<"$scratch/limited")"
await test -s "$scratch/limited-code"
[[ $(<"$scratch/limited-code") == 74 ]] || fail "the server without a disk ended with $(<"$scratch/limited-code")"
start_server 0
await_server 0
await_records full 0 5
finish_worker 0
check_history full
[[ $code == 0 ]] || fail "$(cat "$scratch/last.out")"
echo "  $(cat "$scratch/last.out")"

kill "${server_pids[@]}"
for pid in "${server_pids[@]}"; do wait "$pid" || fail "a server ended with $?"; done
expect_nothing_left
echo passed
