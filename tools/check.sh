#!/usr/bin/env bash
# Before a push: formatting, static analysis, function sizes, then every test.
#   tools/check.sh [--lint]     --lint: without the tests
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install.sh test

folders=(kernels cache ps worker tools)
mapfile -t sources < <(find "${folders[@]}" tests -name '*.[ch]' -o -name '*.cu')
echo "== clang-format"
clang-format --dry-run --Werror "${sources[@]}"

echo "== clang-tidy"
mkdir -p build
cmake -S . -B build/tidy -G Ninja -DCMAKE_C_COMPILER=clang -DHOTROW_WITH_CUDA=EMULATED >/dev/null
# Without two files whose headers need not be there; large ones first, one at a time, so that all cores end together.
find "${folders[@]}" -name '*.c' ! -path '*/examples/*' ! -name comm_nccl.c ! -name dense_cublas.c -printf '%s %p\n' |
  sort -rn | cut -d ' ' -f 2 | xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build/tidy 2>/dev/null

[ "${1:-}" = --lint ] || exec tools/test.sh
