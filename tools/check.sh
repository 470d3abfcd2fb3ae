#!/usr/bin/env bash
# Before a push: formatting, static analysis, function sizes, then every test.
#   tools/check.sh [--lint]     --lint: without the tests
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install.sh test

mapfile -t sources < <(git ls-files '*.c' '*.h')
echo "== clang-format"
clang-format --dry-run --Werror "${sources[@]}"

echo "== clang-tidy"
mkdir -p build
cmake -S . -B build/tidy -G Ninja -DCMAKE_C_COMPILER=clang -DHOTROW_WITH_CUDA=OFF >/dev/null
mapfile -t units < <(git ls-files 'kernels/*.c' 'cache/*.c' 'ps/*.c' 'worker/*.c' 'tools/*.c' ':!*_stub.c' ':!worker/examples')
printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -n 8 clang-tidy --quiet -p build/tidy 2>/dev/null

[ "${1:-}" = --lint ] || exec tools/test.sh
