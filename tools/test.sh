#!/usr/bin/env bash
# Builds Release and Debug (ASan + UBSan, with the emulated GPU), and the protocol with TSan, and runs every test.
#   tools/test.sh            everything; about ten minutes on two cores
#   tools/test.sh --quick    Release only
#   tools/test.sh --slow     also the long runs: 100,000 more simulated clusters, a minute of fuzzing
# Exit status 0: everything passed; tests that could not run here are listed as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0 slow=0
for argument in "$@"; do
  case "$argument" in
    --quick) quick=1 ;;
    --slow) slow=1 ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

tools/install.sh test
jobs=$(nproc)
tests_at_once=$((2 * jobs)) # many wait more than they work
passed=0 skipped=0

configure() { # DIRECTORY OPTIONS...
  local directory=$1
  shift
  cmake -S . -B "$directory" -G Ninja "$@" >"$directory.log" 2>&1 || { cat "$directory.log"; return 1; }
}

compile() { # DIRECTORY OPTIONS...
  local log="$1.build"
  cmake --build "$1" -j "$jobs" "${@:2}" >"$log" 2>&1 || { grep -A 12 -E 'FAILED|error' "$log" | head -n 60; return 1; }
  tail -n 1 "$log"
}

run() { # TITLE DIRECTORY CTEST_OPTIONS...
  local title=$1 directory=$2 log
  shift 2
  log="$directory.ctest"
  echo "== $title: tests"
  if ! ctest --test-dir "$directory" --output-on-failure -j "$tests_at_once" "$@" >"$log" 2>&1; then
    cat "$log"
    echo "== $title: FAILED"
    exit 1
  fi
  grep -E "Skipped|tests passed" "$log" || true
  local ran skips
  ran=$(grep -c ' Passed ' "$log" || true)
  skips=$(grep -c 'Skipped ' "$log" || true)
  passed=$((passed + ran))
  skipped=$((skipped + skips))
}

# Release has its files on the disk. What sanitizers find does not hang on it, and some tests wait for it six times as long
# as they work: theirs are in memory where there is room.
shared_memory=/dev/shm
shared_memory_kb=$((4 << 20))
in_memory() {
  local free
  free=$(df -Pk "$shared_memory" 2>/dev/null | awk 'NR == 2 { print $4 }')
  [ -z "${TMPDIR:-}" ] && [ -w "$shared_memory" ] && [ "${free:-0}" -ge "$shared_memory_kb" ] || return 0
  TMPDIR=$(mktemp -d "$shared_memory/hotrow-test-XXXXXX")
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
}

mkdir -p build
echo "== release: build"
configure build/release -DCMAKE_BUILD_TYPE=Release
compile build/release
run release build/release

if [ "$quick" -eq 0 ]; then
  in_memory
  echo "== address and undefined behaviour sanitizers: build"
  configure build/asan -DCMAKE_BUILD_TYPE=Debug -DHOTROW_WITH_CUDA=EMULATED -DHOTROW_SANITIZE=address,undefined
  compile build/asan
  # Trained to be measured, which takes long here; the same code runs in cluster.train.
  run "address and undefined behaviour sanitizers" build/asan -E '^cluster\.quality$'

  # ZeroMQ as Debian builds it makes ThreadSanitizer report falsely: only what runs without sockets is run here.
  echo "== thread sanitizer: build"
  configure build/tsan -DCMAKE_BUILD_TYPE=Debug -DHOTROW_WITH_CUDA=OFF -DHOTROW_SANITIZE=thread -DCMAKE_C_COMPILER=clang
  compile build/tsan --target test_sim_protocol test_tools_reader test_worker_link test_ps_counts test_ps_storage_reader \
    test_ps_storage_threads
  run "thread sanitizer" build/tsan -R '^(sim.protocol|tools.reader|worker.link|ps.counts|ps.storage_reader|ps.storage_threads)$'
fi

if [ "$slow" -eq 1 ]; then
  echo "== 100,000 more simulated clusters"
  HOTROW_TEST_SEED=1000000 build/release/tests/sim/test_sim_protocol 100000
  echo "== a minute of fuzzing the decoder"
  configure build/fuzz -DCMAKE_C_COMPILER=clang -DHOTROW_FUZZ=ON -DHOTROW_WITH_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug
  compile build/fuzz --target fuzz_wire
  corpus=$(mktemp -d)
  build/fuzz/tests/wire/fuzz_wire -max_total_time=60 "$corpus" tests/wire/corpus
  rm -rf "$corpus"
fi

echo "$passed passed, 0 failed, $skipped skipped"
