# Sourced by the tests here. Real processes of the real program; whatever a test starts carries a tag in its environment,
# so that "nothing is left" can be checked and cleaned up for certain.
# shellcheck shell=bash
set -uo pipefail

hotrow=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-cluster-XXXXXX")
export HOTROW_TEST_TAG=$scratch
unset HOTROW_SHARDS HOTROW_RANK HOTROW_WORKERS HOTROW_JOB

# Every live process with this tag but the test itself and its subshells; more words narrow it to those whose environment
# or command line has them.
tagged() { # [WORD...]
  local environ pid word
  for environ in $(grep -laz "^HOTROW_TEST_TAG=$HOTROW_TEST_TAG\$" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${environ#/proc/}
    pid=${pid%/environ}
    [[ $pid == "$$" || $pid == "$BASHPID" || $(ps -o comm= -p "$pid") == "${0##*/}" ]] && continue
    for word in "$@"; do
      tr '\0' ' ' 2>/dev/null <"/proc/$pid/environ" | cat - <(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") |
        grep -qF -- "$word" || continue 2
    done
    echo "$pid"
  done
}

# shellcheck disable=SC2046
clean_up() {
  kill -9 $(tagged) 2>/dev/null
  rm -rf "$scratch"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $*"
  for file in "$scratch"/*.out "$scratch"/*.err; do
    [[ -s $file ]] && { echo "--- ${file##*/}"; tail -n 40 "$file"; }
  done
  exit 1
}

# Runs a command; its output is in $scratch/last.out and last.err, its exit code in $code, its seconds in $took.
run() {
  local begin=$EPOCHREALTIME
  "$@" >"$scratch/last.out" 2>"$scratch/last.err" </dev/null
  code=$?
  took=$(awk "BEGIN { print $EPOCHREALTIME - $begin }")
}

# The same in the background: its pid is $running.
begin() {
  begin_time=$EPOCHREALTIME
  "$@" >"$scratch/last.out" 2>"$scratch/last.err" </dev/null &
  running=$!
}
finish() {
  wait "$running"
  code=$?
  took=$(awk "BEGIN { print $EPOCHREALTIME - $begin_time }")
}

expect_code() { [[ $code == "$1" ]] || fail "exit code $code, expected $1"; }
expect_err() { grep -qE -- "$1" "$scratch/last.err" || fail "stderr does not say /$1/"; }
expect_no_err() { ! grep -qE -- "$1" "$scratch/last.err" || fail "stderr says /$1/"; }
expect_out() { grep -qE -- "$1" "$scratch/last.out" || fail "stdout does not say /$1/"; }
expect_within() { awk "BEGIN { exit !($took <= $1) }" || fail "took $took s, allowed $1 s"; }

# Waits up to 20 s until a command succeeds.
await() {
  local tries=400
  until "$@" >/dev/null 2>&1; do
    ((tries-- > 0)) || fail "waited in vain for: $*"
    sleep 0.05
  done
}

nothing_is_left() { [[ -z $(tagged) ]]; }
expect_nothing_left() {
  local tries=40
  until nothing_is_left; do
    # shellcheck disable=SC2046
    ((tries-- > 0)) || fail "still there: $(ps -o pid=,args= -p $(tagged | paste -sd,))"
    sleep 0.05
  done
}

check() { echo "- $*"; }
