#!/usr/bin/env bash
# What the compiler makes of every kernel: registers, shared memory, stack and spills, as a table; of a template, the most.
#   tools/gpu.sh --registers [FILE.cu ...]     every *_cuda.cu there is if none is named
# Needs nvcc and no GPU. Exit status 1: a kernel spills or has a stack, which is slow memory; 77: there is no nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

[ "${1:-}" = --registers ] || usage
shift
PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "nvcc is not here" >&2; exit 77; }
files=("$@")
# sort_cuda.cu has no kernels but CUB's, which are as CUB made them.
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(find kernels cache tools -name '*_cuda.cu' ! -name sort_cuda.cu | sort)
architectures=(80 90)
includes=(-Ikernels -Ikernels/cuda -Ikernels/include -Ikernels/base/include -Icache -Icache/include -Iworker/include -Itools)
failed=0

report() { # FILE ARCHITECTURE: lines of kernel, architecture, registers, shared, stack, spilled, with tabs between
  local log
  log=$(nvcc -cubin -o /dev/null -std=c++17 --fmad=false -arch="sm_$2" -Xptxas -v -D_GNU_SOURCE \
    -I"$(dirname "$1")" "${includes[@]}" "$1" 2>&1) || { echo "$log" >&2; return 1; }
  awk -v architecture="$2" '
    /Compiling entry function/ { match($0, /\x27[^\x27]*\x27/); kernel = substr($0, RSTART + 1, RLENGTH - 2) }
    /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 1; i <= NF; i++) {
        if ($i == "registers,") registers = $(i - 1)
        if ($i ~ /^smem/) shared = $(i - 2)
      }
      printf "%s\t%d\t%d\t%d\t%d\t%d\n", kernel, architecture, registers, shared, stack, spilled
    }' <<<"$log" | c++filt -p | sed -E 's/^void //; s/<[^\t]*>\t/\t/'
}

table() { # FILE, from what report says of it; 1 if a kernel spills or has a stack
  awk -F '\t' -v file="$1" '
    function most(a, b) { return a > b ? a : b + 0 }
    {
      if (!($1 in shared)) order[++count] = $1
      registers[$1, $2] = most($3, registers[$1, $2])
      shared[$1] = most($4, shared[$1])
      stack[$1] = most($5, stack[$1])
      spilled[$1] = most($6, spilled[$1])
    }
    END {
      for (i = 1; i <= count; i++) {
        kernel = order[i]
        printf "| `%s` | `%s` | %d | %d | %d | %d | %d |\n", file, kernel, registers[kernel, 80], registers[kernel, 90],
          shared[kernel], stack[kernel], spilled[kernel]
        bad += stack[kernel] + spilled[kernel] > 0
      }
      exit bad > 0
    }'
}

echo "| file | kernel | registers sm_80 | sm_90 | shared bytes | stack bytes | spilled bytes |"
echo "|---|---|---|---|---|---|---|"
for file in "${files[@]}"; do
  { for architecture in "${architectures[@]}"; do report "$file" "$architecture" || exit 1; done; } |
    table "$(basename "$file")" || failed=1
done
exit "$failed"
