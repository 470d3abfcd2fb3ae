#!/usr/bin/env bash
# Searches the model through.
#   test_model.sh correct [TEXT]   every variant (whose flags contain TEXT) must hold
#   test_model.sh faults [TEXT]    each planted fault must break the rule named beside it
#   test_model.sh trail FLAGS...   shows the shortest run that breaks a rule, as messages by process
set -euo pipefail
part=${1:?correct, faults or trail}
shift
here=$(cd "$(dirname "$0")" && pwd)

for tool in spin gcc; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool here"; exit 77; }
done

# Each line: the flags. "progress" before them: no cycle either, so what goes on comes to an end.
correct='
-DFAULTS=1 -DSPOIL
-DFAULTS=1 -DANNOUNCE
-DFAULTS=1 -DANNOUNCE -DH=2
-DFAULTS=1 -DANNOUNCE -DSPOIL -DPULL_BOUND=0 -DSTEPS_OTHER=1
-DFAULTS=1 -DANNOUNCE -DAHEAD=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
progress -DFAULTS=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
progress -DFAULTS=1 -DANNOUNCE -DPULL_BOUND=0 -DSTEPS_OTHER=1
progress -DCRASHES=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
-DCRASHES=1 -DANNOUNCE -DPULL_BOUND=0 -DSTEPS_OTHER=1
-DCRASHES=1 -DANNOUNCE -DPULL_BOUND=0 -DSTEPS=1 -DFAULTS=1
-DANNOUNCE -DPULL_BOUND=2 -DH=2 -DSTEPS_OTHER=3
-DANNOUNCE -DLOG_SIZE=1 -DOTHER_ROWS=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
-DANNOUNCE -DREORDERED
'

# Each line: the rule that must break first, and the flags.
faults='
missing    -DLOST_PUSH -DONLY_READS
table      -DLOST_PUSH
missing    -DREORDERED
copy_own   -DREORDERED -DANNOUNCE -DSPOIL
copy_other -DNO_EPOCH -DONLY_READS -DCRASHES=1 -DSTEPS_OTHER=1
copy_other -DNO_EPOCH -DONLY_READS -DCRASHES=1 -DSTEPS=1 -DSTEPS_OTHER=1 -DANNOUNCE
missing    -DLATE_ANNOUNCEMENT -DANNOUNCE -DSTEPS_OTHER=3
missing    -DWRONG_H -DANNOUNCE -DH=2
missing    -DWRONG_H_WORKER -DANNOUNCE -DH=2
missing    -DEARLY_SEEN -DANNOUNCE
table      -DNO_DEDUPE -DFAULTS=1
end        -DACK_IS_DURABLE -DCRASHES=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
end        -DACK_IS_DURABLE -DCRASHES=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1 -DANNOUNCE
missing    -DNO_WRAP_RESET -DANNOUNCE -DLOG_SIZE=1 -DOTHER_ROWS=1 -DPULL_BOUND=0 -DSTEPS_OTHER=1
missing    -DNEW_LOG_SAME_EPOCH -DCRASHES=1 -DANNOUNCE -DSTEPS=1 -DSTEPS_OTHER=2
copy_own   -DNAMED_IS_APPLIED -DCRASHES=1 -DFAULTS=1 -DPULL_BOUND=0 -DSTEPS_OTHER=0
'

# How an assertion that broke reads in what the search prints.
declare -A broken=(
  [missing]='(missing<='
  [copy_other]='.copy_other<=W[w].table_other)'
  [copy_own]='.copy_own==W[w].done)'
  [table]='(table[w]==sum)'
  [end]='(table[0]=='
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
TIMEFORMAT=%U
failures=0

fail() {
  echo "  FAILED: $1"
  failures=$((failures + 1))
}

# search LEVEL WHAT FLAGS...: leaves what the search printed in `report` and its CPU time in `seconds`.
search() {
  local level=$1 what=$2 compile=-DSAFETY run=
  shift 2
  [ "$what" = progress ] && compile=-DNP run=-l
  spin -a "$@" "$here/row_protocol.pml" >spin.log 2>&1 || { cat spin.log; return 1; }
  gcc "$level" -w "$compile" -DMEMLIM=1900 -o pan pan.c
  seconds=$({ time ./pan $run -m2000 -w22 >report 2>&1; } 2>&1)
}

states() { sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' report; }
megabytes() { sed -n 's/^ *\([0-9]*\)\.[0-9]*\ttotal actual memory usage.*/\1/p' report; }

run_correct() {
  printf '%9s %7s %4s  %s\n' states seconds MB flags
  local line what
  while read -r line; do
    what=safety
    [ "${line%% *}" = progress ] && what=progress
    # shellcheck disable=SC2086
    search -O1 $what ${line#progress }
    printf '%9s %7s %4s  %s\n' "$(states)" "$seconds" "$(megabytes)" "$line"
    if ! grep -q 'errors: 0$' report || grep -qiE 'not completed|too small|out of memory' report; then
      cat report
      fail "must hold; to see how it broke: $0 trail ${line#progress }"
    fi
  done < <(grep -F -e "${1:-}" <<<"$correct" | grep .)
}

run_faults() {
  printf '%9s %7s  %-44s %s\n' states seconds broke flags
  local rule flags assertion
  while read -r rule flags; do
    # shellcheck disable=SC2086
    search -O0 safety $flags
    assertion=$(sed -n 's/^pan:1: assertion violated \(.*\) (at depth.*/\1/p' report)
    printf '%9s %7s  %-44s %s\n' "$(states)" "$seconds" "${assertion:-nothing}" "$flags"
    [[ $assertion == *"${broken[$rule]}"* ]] || fail "must break ${broken[$rule]}"
  done < <(grep -F -e "${1:-}" <<<"$faults" | grep .)
}

run_trail() {
  spin -a "$@" "$here/row_protocol.pml" >/dev/null
  gcc -O1 -w -DSAFETY -DREACH -DMEMLIM=1900 -o pan pan.c
  ./pan -i -m2000 -w22 >report 2>&1
  [ -e row_protocol.pml.trail ] || { echo "nothing broke"; return; }
  spin -k row_protocol.pml.trail -c "$@" "$here/row_protocol.pml" | sed 's/^spin: //'
}

"run_$part" "$@"
[ "$failures" -eq 0 ]
