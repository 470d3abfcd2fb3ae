#!/usr/bin/env bash
# tools/gpu.sh: its steps, their order and its table, with programs in place of the compiler, the tests and the GPU.
# shellcheck disable=SC2016 # stubs expand their own variables
set -euo pipefail
script=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-gpu-script-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; cat "$scratch/out" "$scratch/err"; exit 1; }
mkdir -p "$scratch/tools" "$scratch/bin"
cp "$script" "$scratch/tools/gpu.sh"

stub() { # PATH, its text on stdin
  mkdir -p "$(dirname "$1")"
  { echo '#!/bin/bash'; cat; } >"$1"
  chmod +x "$1"
}
stub "$scratch/tools/install.sh" <<<'echo "apt-get failed"; [ "${TEST_FAILS:-}" != packages ] || exit 77'
stub "$scratch/bin/nvidia-smi" <<<'[ -z "${TEST_NO_GPU:-}" ] || exit 9; [ $# -gt 0 ] || { echo "| CUDA Version: ${TEST_DRIVER:-13.0} |"; exit; }
  echo "NVIDIA H200, 9.0, 580.1"; echo "NVIDIA H200, 9.0, 580.1"'
stub "$scratch/bin/nvcc" <<<'echo "Cuda compilation tools, release 13.0, V13.0.88"'
stub "$scratch/bin/cmake" <<<'echo "cmake $*"; [ "${TEST_FAILS:-}" != cmake ]'
stub "$scratch/bin/timeout" <<<'[ "$1" != -k ] || { echo "at most $3 s"; shift 2; }; shift; "$@"'
stub "$scratch/bin/ctest" <<<'[[ "$*" != *" -N "* ]] || { echo "  Test  #7: kernels.scan.cuda"; echo "  Test #12: cluster.device"; exit; }
  echo "ctest $* (require ${HOTROW_TEST_REQUIRE:-nothing})"; case "${TEST_FAILS:-}" in
  late) exit 124 ;;
  ctest) echo "50% tests passed, 1 tests failed out of 2"; exit 8 ;; *) echo "100% tests passed, 0 tests failed out of 2" ;; esac'
stub "$scratch/bin/compute-sanitizer" <<<'echo "$*"; [ "${TEST_FAILS:-}" != "$2" ] || exit 9'
for tree in release emulated packing; do
  stub "$scratch/build/gpu/$tree/bin/hotrow" <<'END'
case "$1 $2" in
  "bench gpu") echo "options $*"; echo "gather   64  some shape   1.0"
    echo "pool     64  a shape   2.0   >= 0.75 of copy: met"; echo "step  64  all  900.0  <= 600 us: MISSED"
    echo "targets: 1 met, 1 missed" ;;
  launch*) auc=0.75; [[ ${TEST_FAILS:-} != train || "$*" != *"--device cpu"* ]] || auc=0.77
    echo "{\"samples_per_s\": 1000.5, \"valid_auc\": 0.5, \"auc\": $auc, \"logloss\": 0.4}" ;;
  *) exit 1 ;;
esac
END
  stub "$scratch/build/gpu/$tree/tests/kernels/test_kernels_scan" <<<'exit 0'
  stub "$scratch/build/gpu/$tree/tests/kernels/test_kernels_registry" <<<'exit 0'
  stub "$scratch/build/gpu/$tree/tests/cache/test_cache_cache" <<<'exit 0'
done

gpu() { # EXPECTED_CODE OPTIONS...
  local code=0 expected=$1
  shift
  PATH=$scratch/bin:$PATH "$scratch/tools/gpu.sh" "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
  [[ $code == "$expected" ]] || fail "exit code $code, expected $expected: $*"
}
says() { grep -qE -- "$1" "$scratch/out" || fail "no '$1'"; }
says_not() { ! grep -qE -- "$1" "$scratch/out" || fail "'$1' is there"; }
log_says() { grep -qE -- "$2" "$scratch/build/gpu/$1.log" || fail "$1.log says no '$2': $(cat "$scratch/build/gpu/$1.log")"; }

TEST_NO_GPU=1 gpu 69
grep -qx 'there is no GPU here that nvidia-smi knows of' "$scratch/err" || fail 'no sentence'
gpu 64 --nothing
grep -q -- '--emulated' "$scratch/err" || fail 'no usage'

gpu 0 --dry-run
says 'CMAKE_CUDA_ARCHITECTURES=90-real'
[[ ! -e $scratch/build/gpu/bench.log ]] || fail 'a dry run has run'

gpu 0
log_says packages 'apt-get'
log_says configure 'HOTROW_WITH_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90-real$'
log_says tests '-L \^cuda\$ .*\(require cuda\)$'
log_says client 'cluster.*device'
log_says bench '^options bench gpu$'
for step in packages configure build tests client bench train sanitizers; do says "^$step +passed"; done
log_says tests '^at most 400 s$'
for tool in memcheck racecheck synccheck; do
  for test in kernels_scan cache_cache; do says "^$tool test_$test: passed"; done
done
says_not 'test_kernels_registry: '
says '^NVIDIA H200, 9.0, 580.1$'
says '^tests .*100% tests passed'
says '^train .*auc 0.75, on the CPU 0.75; 1000 samples/s'
[[ $(tail -n 2 "$scratch/out") == $'pool  64  a shape  2.0  >= 0.75 of copy: met\nstep  64  all  900.0  <= 600 us: MISSED' ]] ||
  fail 'the table does not end with the targets'

gpu 0 --quick
log_says bench '--dims 16,64'
says_not '^synccheck'

TEST_NO_GPU=1 gpu 0 --emulated
log_says tests '-L \^emulated\$'
log_says bench '--rows 4096'
says_not sanitizers

TEST_FAILS=ctest gpu 1
says '^tests +FAILED .*exit status 8'
says '^bench +passed'
TEST_FAILS=late gpu 1
says '^it was not done in time$'
says '^tests +FAILED .*exit status 124'
TEST_FAILS=packages gpu 1
says '^packages +FAILED'
says_not '^(configure|tests) '
TEST_DRIVER=12.9 gpu 69
grep -q "driver is of CUDA 12, the compiler of CUDA 13" "$scratch/err" || fail 'an old driver is not told'
TEST_FAILS=train gpu 1
says '^train +FAILED'
says '^sanitizers +passed'
TEST_FAILS=racecheck gpu 1
says '^racecheck test_kernels_scan: FAILED, exit status 9'
says '^memcheck test_kernels_scan: passed'
says '^sanitizers +FAILED'
TEST_FAILS=cmake gpu 1
says '^configure +FAILED'
says_not '^(build|tests|bench) '

gpu 69 --packed
grep -q 'nothing is packed' "$scratch/err" || fail 'nothing is packed, and that is not told'
printf 'add_test([=[kernels.scan.cuda]=] "%s" "cuda")\nadd_test([=[cluster.device]=] "bash" "%s")\n' \
  "$scratch/build/gpu/packing/tests/kernels/test_kernels_scan" "$scratch/tests/cluster/test_device.sh" \
  >"$scratch/build/gpu/packing/CTestTestfile.cmake"
cp "$(command -v bash)" "$scratch/build/gpu/packing/tests/kernels/test_kernels_scan" # it needs a library or two
TEST_NO_GPU=1 gpu 0 --pack 80
log_says configure 'HOTROW_WITH_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=80-real .*ORIGIN'
log_says build '--target hotrow_program test_kernels_scan$'
says '^== pack: passed, .*packed for sm_80, CUDA 13.0: '
ls "$scratch"/build/gpu/packed/lib/libtinfo.so* >"$scratch/err" || fail 'no library is packed'
[[ ! -e $scratch/build/gpu/packed/lib/libc.so.6 && ! -e $scratch/build/gpu/packed/tests/cache ]] || fail 'too much is packed'
gpu 69 --packed
grep -q 'packed is for sm_80, CUDA 13.0, the GPU is sm_90' "$scratch/err" || fail 'another architecture is not told'
TEST_NO_GPU=1 gpu 0 --pack
rm -rf "$scratch/build/gpu/packed" "$scratch/build/gpu/packing" "$scratch/build/gpu/release" "$scratch/bin/nvcc" "$scratch/bin/cmake"
gpu 0 --packed --quick
for step in tests client bench train sanitizers; do says "^$step +passed"; done
says '^memcheck test_kernels_scan: passed'
says_not '^(packages|configure|build) '
grep -q "\"$scratch/build/gpu/packed/tests/kernels/test_kernels_scan\"" "$scratch/build/gpu/packed/CTestTestfile.cmake" ||
  fail 'ctest would not find the test'
grep -q "\"$scratch/tests/cluster/test_device.sh\"" "$scratch/build/gpu/packed/CTestTestfile.cmake" || fail 'nor the script'

rm "$scratch/bin/compute-sanitizer"
if ! command -v compute-sanitizer >/dev/null && [[ ! -x /usr/local/cuda/bin/compute-sanitizer ]]; then
  gpu 0 --packed
  says '^sanitizers +skipped .*compute-sanitizer is not here'
fi
echo passed
