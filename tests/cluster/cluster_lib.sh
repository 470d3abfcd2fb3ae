# Sourced by the tests here. Real processes of the real program; whatever a test starts carries a tag in its environment,
# so that "nothing is left" can be checked and cleaned up for certain.
# shellcheck shell=bash disable=SC2034
set -uo pipefail

# HOTROW_TEST_BRIEF=1, which builds with sanitizers set: of what is run several times in like ways, one, with smaller nets.
brief=${HOTROW_TEST_BRIEF:-}

hotrow=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-cluster-XXXXXX")
export HOTROW_TEST_TAG=$scratch
unset HOTROW_SHARDS HOTROW_RANK HOTROW_WORKERS HOTROW_JOB

# Every live process with this tag; more words narrow it to those whose environment or command line has them. Without any
# other program, as that would have the tag too.
# shellcheck disable=SC2120
tagged() { # [WORD...]
  local dir word words text
  for dir in /proc/[0-9]*; do
    { mapfile -d '' -t words <"$dir/environ"; } 2>/dev/null || continue
    text=" ${words[*]} "
    [[ $text == *" HOTROW_TEST_TAG=$HOTROW_TEST_TAG "* ]] || continue
    { mapfile -d '' -t words <"$dir/cmdline"; } 2>/dev/null || continue
    text+="${words[*]} "
    for word in "$@"; do
      [[ $text == *"$word"* ]] || continue 2
    done
    echo "${dir#/proc/}"
  done
}

# Sends a signal to the one process that has these words, and starts the clock of `finish` anew.
strike() { # SIGNAL WORD...
  local pid
  pid=$(tagged "${@:2}")
  [[ $pid =~ ^[0-9]+$ ]] || fail "not one process but '$pid' has: ${*:2}"
  begin_time=$EPOCHREALTIME
  kill "-$1" "$pid"
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
  # Emptied now, not when the background gets to it: who awaits a word must not read an old one.
  : >"$scratch/last.out"
  : >"$scratch/last.err"
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

# Waits up to a minute until a command succeeds.
await() {
  local tries=1200
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
