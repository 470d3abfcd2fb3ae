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
mapfile -t units < <(find "${folders[@]}" -name '*.c' ! -path '*/examples/*' ! -name comm_nccl.c ! -name dense_cublas.c) # their headers need not be there
printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -n 8 clang-tidy --quiet -p build/tidy 2>/dev/null

[ "${1:-}" = --lint ] || exec tools/test.sh
