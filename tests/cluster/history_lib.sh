# Sourced after cluster_lib.sh by the tests that keep histories (history.h): workers, their records, their verdict.
# shellcheck shell=bash disable=SC2034,SC2154
program=$2
seed=${HOTROW_TEST_SEED:-$SRANDOM}
echo "seed $seed (HOTROW_TEST_SEED replays it)"
RANDOM=$seed
worker_pids=() sessions=() worker_options=()

start_worker() { # NAME RANK SESSION [PLANT [blind|restarts]]
  mkdir -p "$scratch/$1"
  "$program" run "$shards" "$scratch/$1" "$seed" "${@:2}" >"$scratch/$1-$2-$3.out" 2>"$scratch/$1-$2-$3.err" </dev/null &
  worker_pids[$2]=$!
  sessions[$2]=$3
}

# How much the newest session of a rank has written into its history.
records() { # NAME RANK
  local file="$scratch/$1/history-$2-${sessions[$2]}"
  [[ -e $file ]] && echo $(($(stat -c %s "$file") / 32)) || echo 0
}
has_records_or_ended() { (($(records "$1" "$2") >= $3)) || is_gone "${worker_pids[$2]}"; }
await_records() { # NAME RANK MORE
  local goal=$(($(records "$1" "$2") + $3))
  await has_records_or_ended "$1" "$2" "$goal"
  (($(records "$1" "$2") >= goal)) || fail "worker $2 of $1 has ended"
}
is_gone() { ! kill -0 "$1"; }
is_stopped() { [[ $(<"/proc/$1/stat") == *") T "* ]]; }
expect_end() { # PID CODE
  await is_gone "$1"
  wait "$1" 2>/dev/null
  local code=$?
  ((code == $2)) || fail "a worker ended with exit code $code, expected $2"
}
repeats() { "$program" repeats "$shards" || fail "no counters"; }

# Runs the checker. The worker who was told to end has flushed.
check_history() { run "$program" check "$shards" "$scratch/$1" "$seed"; }
finish_worker() { # RANK
  kill "${worker_pids[$1]}"
  expect_end "${worker_pids[$1]}" 0
}

let_work() { await_records main "$1" $((RANDOM % 20 + 3)); }
succeed() { # RANK: starts the next session of it
  start_worker main "$1" $((sessions[$1] + 1)) "${worker_options[@]}"
}
