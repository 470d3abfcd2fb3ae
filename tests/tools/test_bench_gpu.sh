#!/usr/bin/env bash
# hotrow bench gpu, small: every kernel has its lines, and every number of them is positive. No time is asserted.
set -euo pipefail
hotrow=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-bench-gpu-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
bench() { # EXPECTED_CODE OPTIONS...
  local code=0 expected=$1
  shift
  "$hotrow" bench gpu --rows 4096 --repeats 2 "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
  [[ $code == "$expected" ]] || fail "exit code $code, expected $expected: $* $(cat "$scratch/err")"
}

code=0
"$hotrow" bench gpu --rows 4096 --repeats 2 --dims 8,64 --json >"$scratch/out" 2>"$scratch/err" || code=$?
if grep -qE 'hotrow bench: .*(this build has no CUDA|no usable GPU|this machine has no GPU)' "$scratch/err"; then
  [[ $code == 69 || $code == 71 ]] || fail "exit code $code"
  [[ ! -s $scratch/out ]] || fail "figures without a GPU: $(cat "$scratch/out")"
  echo "SKIPPED, no cuda: $(cat "$scratch/err")"
  [[ ${HOTROW_TEST_REQUIRE:-} != *cuda* ]] || exit 1
  exit 77
fi
[[ $code == 0 ]] || fail "exit code $code: $(cat "$scratch/err")"

has() { # COUNT KERNEL TEXT: so many lines of the kernel that match
  local count
  count=$(grep "\"kernel\":\"$2\"" "$scratch/out" | grep -c -- "$3" || true)
  [[ $count == "$1" ]] || fail "$count lines of $2 with '$3', expected $1"
}
has 1 copy '"copy_fraction":1,'
has 2 dedup '256 keys, .*"target":"<= 200 us","met":'
has 2 dedup '4096 keys, .*"target":">= 7.1 G/s","met":'
for load in 0.50 0.75 1.00; do has 1 probe "load $load"; done
for dim in 8 64; do
  has 2 gather "\"dim\":$dim,"
  has 4 pool "\"dim\":$dim,"
  has 2 segment_sum "\"dim\":$dim,"
  for optimizer in sgd rowwise_adagrad adam; do has 2 fused "\"dim\":$dim,.* $optimizer\""; done
  has 1 pending_add "\"dim\":$dim,"
  for kernel in pack unpack; do
    for dtype in f16 i8; do has 1 $kernel "\"dim\":$dim,\"shape\":\"$dtype,"; done
  done
  has 1 gather_packed "\"dim\":$dim,"
done
has 4 pool '"target":">= 0.75 of copy"'
has 2 fused 'twice, rowwise_adagrad.*"bytes_per_key":[0-9.]*,.*"target":">= 0.65 of copy"'
for kernel in lookup update insert; do has 1 cache_$kernel '"dim":64'; done
has 2 step '416 ids, [1-9][0-9]* distinct'
has 1 lookup '[0-9]* of [1-9][0-9]* missing'
[[ $(wc -l <"$scratch/out") == 54 ]] || fail "$(wc -l <"$scratch/out") lines"
awk '{
  count = split("keys us us_min us_max gkeys_per_s bytes_per_key gb_per_s copy_fraction", names, " ")
  for (i = 1; i <= count; i++) {
    if (!match($0, "\"" names[i] "\":[-+0-9.einfa]*")) { print "no " names[i] ": " $0; exit 1 }
    value = substr($0, RSTART + length(names[i]) + 3, RLENGTH - length(names[i]) - 3)
    number[names[i]] = value + 0
    if (value !~ /^[0-9.]+(e-?[0-9]+)?$/ || number[names[i]] <= 0) {
      print names[i] " is " value ": " $0; exit 1
    }
  }
  if (number["us_min"] > number["us"] || number["us"] > number["us_max"]) { print "median outside: " $0; exit 1 }
}' "$scratch/out" || fail "a line"

bench 0 --kernel probe --load 0.5
grep -qE '^targets: [0-9]+ met, [0-9]+ missed$' "$scratch/out" || fail "no last line: $(cat "$scratch/out")"
[[ $(grep -cE "^probe .*: (met|MISSED)$" "$scratch/out") == 1 ]] || fail "not one probe"
bench 0 --kernel gather --dims 16 --distribution zipf --json
[[ $(wc -l <"$scratch/out") == 2 ]] || fail "not copy and one gather: $(cat "$scratch/out")"
bench 78 --kernel probe --load 2
grep -q -- '--load 2: must be numbers from 0 to 1' "$scratch/err" || fail "$(cat "$scratch/err")"
bench 78 --kernel gather --dims 16,x
grep -q -- '--dims 16,x' "$scratch/err" || fail "$(cat "$scratch/err")"
bench 64 --kernel nothing
echo passed
