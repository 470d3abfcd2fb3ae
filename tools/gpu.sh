#!/usr/bin/env bash
# Everything that wants a GPU, one after the other: builds for it, tests, sanitizers, benchmark, training; a table last.
#   tools/gpu.sh [--quick] [--dry-run]      about eight minutes on 16 cores. --quick: two row widths, two sanitizers
#   tools/gpu.sh --pack [ARCHITECTURE]      builds what it runs where there is no GPU, for sm_90 or another one
#   tools/gpu.sh --packed [--quick] ...     runs what was packed: nothing is installed, fetched or built
#   tools/gpu.sh --emulated [--dry-run]     the same steps on the emulated GPU, small: to see that they work
#   tools/gpu.sh --registers [FILE.cu ...]  what the compiler makes of every kernel: no GPU is needed
# Exit status 0: all that could run passed; 1: something failed, or a kernel spills or has a stack, which is slow memory;
# 69: there is no GPU, its driver is too old, or nothing is packed for it; 77: no nvcc. The log of each step is
# build/gpu/STEP.log, the table build/gpu/summary.log. build/gpu/packed.tar.gz is what is packed: carry it to the same place.
# shellcheck disable=SC2317 # steps are called by their names
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/cuda/bin

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

# --- registers: of a template, the most of any instance ---

report_registers() { # FILE ARCHITECTURE: lines of kernel, architecture, registers, shared, stack, spilled, with tabs between
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

registers_table() { # FILE, from what report_registers says of it; 1 if a kernel spills or has a stack
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

print_registers() { # [FILE.cu ...]
  local file sm failed=0 files=("$@")
  command -v nvcc >/dev/null || { echo "nvcc is not here" >&2; return 77; }
  includes=(-Ikernels -Ikernels/cuda -Ikernels/include -Ikernels/base/include -Icache -Icache/include -Iworker/include -Itools)
  # sort_cuda.cu has no kernels but CUB's, which are as CUB made them.
  [ ${#files[@]} -gt 0 ] || mapfile -t files < <(find kernels cache tools -name '*_cuda.cu' ! -name sort_cuda.cu | sort)
  echo "| file | kernel | registers sm_80 | sm_90 | shared bytes | stack bytes | spilled bytes |"
  echo "|---|---|---|---|---|---|---|"
  for file in "${files[@]}"; do
    { for sm in 80 90; do report_registers "$file" "$sm" || exit 1; done; } |
      registers_table "$(basename "$file")" || failed=1
  done
  return "$failed"
}

# --- steps: a function each; 77 is a skip ---

run() { # COMMAND...: it is in the log, too
  printf '+ %s\n' "$*"
  [ "$dry_run" -eq 1 ] || "$@"
}

# What hangs on a GPU hangs for good.
run_for() { run timeout -k 10 $(($1 * patience)) "${@:2}"; } # SECONDS COMMAND...

packages() { run tools/install.sh build || return 1; }

configure() {
  run cmake -S . -B "$tree" -G Ninja -DCMAKE_BUILD_TYPE=Release "-DHOTROW_WITH_CUDA=$backend" "${cmake_options[@]}"
}

build() { run cmake --build "$tree" -j "$(nproc)" "${build_options[@]}"; }

# Tests have the backend's name behind theirs: kernels.gather.cuda. What spills needs no GPU to be known.
tests_of() { # STEP: which ctest chooses
  case $1 in
    tests) choice=(-L "^$rung\$" -E '^worker\.') ;;
    client) choice=(-R "^(worker\..*\.$rung|cluster\.device)\$") ;;
  esac
}

run_tests() { # STEP
  local choice
  tests_of "$1"
  run_for 400 env HOTROW_TEST_REQUIRE=cuda ctest --test-dir "$tree" --output-on-failure -j "$((($(nproc) + 3) / 4))" \
    "${choice[@]}"
}

tests() { run_tests tests; }

client() { run_tests client; }

bench() { run_for 300 "$tree/bin/hotrow" bench gpu "${bench_options[@]}"; }

# The same job on the GPU and on the CPU has to end with the same scores.
train() {
  local device output
  for device in cuda cpu; do
    output=$(run_for 200 "$tree/bin/hotrow" launch --shards 2 --workers 1 -- train --model dcnv2 --device "$device" \
      "${train_options[@]}" --pull-bound 100 --push-bound 10 --evaluations 1 --json) || return 1
    echo "$output"
    auc[$device]=$(sed -n 's/.*"auc": *\([0-9.e-]*\).*/\1/p' <<<"$output")
    speed[$device]=$(sed -n 's/.*"samples_per_s": *\([0-9]*\).*/\1/p' <<<"$output")
  done
  [ "$dry_run" -eq 1 ] && return
  echo "auc ${auc[cuda]}, on the CPU ${auc[cpu]}; ${speed[cuda]} samples/s, on the CPU ${speed[cpu]}"
  awk "BEGIN { exit ${auc[cuda]:-0} == 0 || (${auc[cuda]:-0} - ${auc[cpu]:-0}) ^ 2 > 1e-6 }"
}
declare -A auc speed

sanitize() { # TOOL TEST: 1 if it has found something; a test that takes too long is no failure
  local code=0 log options=(--error-exitcode 9 --print-limit 5)
  log=build/gpu/$1.${2##*/}.log
  [ "$1" != memcheck ] || options+=(--report-api-errors no) # tests ask for more memory than there is
  run timeout 40 compute-sanitizer --tool "$1" "${options[@]}" "$2" cuda >"$log" 2>&1 || code=$?
  case $code in
    0) echo "$1 ${2##*/}: passed" ;;
    77) echo "$1 ${2##*/}: skipped" ;;
    124) echo "$1 ${2##*/}: not done in 40 s" ;;
    *) echo "$1 ${2##*/}: FAILED, exit status $code, $log"; return 1 ;;
  esac
}

# Tests of kernels and of the cache under each of compute-sanitizer's tools, some side by side.
sanitizers() {
  local code=0
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here"; return 77; }
  export -f sanitize run
  export dry_run
  # shellcheck disable=SC2016 # the shell that xargs starts expands them
  for tool in "${sanitizer_tools[@]}"; do
    for test in "$tree"/tests/kernels/test_kernels_* "$tree"/tests/cache/test_cache_cache; do
      [ "${test##*_}" = registry ] || echo "$tool $test"
    done
  done | xargs -P "$((($(nproc) + 1) / 2))" -L 1 bash -c 'sanitize "$0" "$1"' || code=1
  echo "${sanitizer_tools[*]}"
  return "$code"
}

# --- packing: programs and tests, the libraries that they need but for C's and C++'s own, and what ctest knows of them ---

test_programs() { # the programs of the tests that a step runs, built or not
  local step choice
  for step in tests client; do
    tests_of "$step"
    ctest --test-dir "$tree" -N "${choice[@]}" | sed -n 's/^ *Test *#[0-9]*: //p'
  done | while read -r name; do
    grep -rhF --include=CTestTestfile.cmake "add_test([=[$name]=]" "$tree" || true
  done | grep -o "\"$PWD/$tree/tests/[^\"]*\"" | tr -d '"' | sort -u
}

# Beside the programs first, also for libraries of libraries.
pack_options() {
  # shellcheck disable=SC2016 # the linker's own $ORIGIN
  cmake_options+=('-DCMAKE_BUILD_RPATH=$ORIGIN/../lib;$ORIGIN/../../lib' '-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags')
}

pack_files() {
  local file name here=$PWD
  rm -rf "$packed"
  mkdir -p "$packed/lib"
  for file in "$here/$tree/bin/hotrow" $(test_programs); do
    name=$packed/${file#"$here/$tree/"}
    mkdir -p "$(dirname "$name")"
    cp "$file" "$name"
    strip --strip-debug "$name" 2>/dev/null || true # a script has nothing to strip
    ldd "$file" 2>/dev/null || true
  done | sed -n 's/^.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libgcc_s|libstdc\+\+)\.so' | xargs -r cp -t "$packed/lib"
  (cd "$tree" && find . -name CTestTestfile.cmake) | while read -r file; do
    mkdir -p "$packed/$(dirname "$file")"
    sed "s|$here/$tree|@TREE@|g; s|$here|@SOURCE@|g" "$tree/$file" >"$packed/$file.in"
  done
  echo "sm_$architecture, $(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/CUDA \1/p')" >"$packed/about"
  tar -czf "$packed.tar.gz" -C build/gpu packed
}

pack() {
  [ "$dry_run" -eq 0 ] || return 0
  pack_files
  echo "packed for $(cat "$packed/about"): $(du -sh "$packed.tar.gz" | cut -f 1) in $packed.tar.gz"
}

# What ctest reads has places in it that are filled in here.
unpack() {
  local file
  [ -s "$packed/about" ] || { echo "nothing is packed in $packed: tools/gpu.sh --pack, where it can be built" >&2; exit 69; }
  grep -q "^sm_$architecture," "$packed/about" ||
    { echo "$packed is for $(cat "$packed/about"), the GPU is sm_$architecture" >&2; exit 69; }
  find "$packed" -name CTestTestfile.cmake.in | while read -r file; do
    sed "s|@TREE@|$PWD/$packed|g; s|@SOURCE@|$PWD|g" "$file" >"${file%.in}"
  done
}

# --- the procedure ---

summary=() failed=0

note() { # STEP STATE SECONDS NOTE
  summary+=("$(printf '%-12s %-8s %5s s  %s' "$@")")
  printf '== %s: %s, %s s  %s\n' "$@"
}

step() { # STEP: false if it failed. What takes long is shown as it comes
  local log=build/gpu/$1.log begin=$SECONDS code=0 last
  printf '== %s\n' "$1"
  if [ "$dry_run" -eq 1 ]; then
    "$1"
    return
  fi
  case $1 in
    packages | configure | build) "$1" >"$log" 2>&1 || code=$? ;;
    *) "$1" 2>&1 | tee "$log" || code=$? ;;
  esac
  last=$(grep -E 'tests passed|tests failed' "$log" || tail -n 1 "$log")
  case $code in
    0) note "$1" passed $((SECONDS - begin)) "$last" ;;
    77) note "$1" skipped $((SECONDS - begin)) "$last" ;;
    *)
      failed=1
      [ "$code" -ne 124 ] || echo 'it was not done in time' | tee -a "$log"
      tail -n 30 "$log"
      note "$1" FAILED $((SECONDS - begin)) "exit status $code, $log"
      return 1
      ;;
  esac
}

print_summary() {
  printf '\n%s\n' "$card"
  printf '%s\n' "${summary[@]}"
  [ ! -s build/gpu/bench.log ] || sed -n '/: \(met\|MISSED\)$/s/   */  /gp' build/gpu/bench.log
}

find_card() { # sets card and its architecture
  local smi driver compiler
  smi=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null | sed -n 1p) || smi=''
  if [ -z "$smi" ]; then
    echo "there is no GPU here that nvidia-smi knows of" >&2
    exit 69
  fi
  card=$smi
  architecture=$(cut -d, -f2 <<<"$smi" | tr -d ' .')
  driver=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\)\..*/\1/p')
  if [ "$is_packed" -eq 1 ]; then
    [ ! -s "$packed.tar.gz" ] || tar -xzf "$packed.tar.gz" -C build/gpu
    compiler=$(sed -n 's/.*CUDA \([0-9]*\)\..*/\1/p' "$packed/about" 2>/dev/null) || compiler=''
  else
    command -v nvcc >/dev/null || { echo "nvcc is not here: build elsewhere, tools/gpu.sh --pack" >&2; exit 77; }
    compiler=$(nvcc --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
  fi
  if [ "${driver:-99}" -lt "${compiler:-0}" ]; then
    echo "the GPU's driver is of CUDA $driver, the compiler of CUDA $compiler: programs would not start" >&2
    exit 69
  fi
}

[ "${1:-}" != --registers ] || { shift; print_registers "$@"; exit; }
backend=ON rung=cuda tree=build/gpu/release packed=build/gpu/packed card='' quick=0 dry_run=0 is_packed=0 is_packing=0 patience=1
# Memory is given zeroed, so initcheck would find nothing.
cmake_options=() build_options=() bench_options=() sanitizer_tools=(memcheck racecheck synccheck)
train_options=(--samples 400000 --batch 4096 --dim 16 --cache-rows 200000)
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --dry-run) dry_run=1 ;;
    --emulated) backend=EMULATED rung=emulated tree=build/gpu/emulated card='emulated GPU' patience=10 ;;
    --packed) is_packed=1 tree=$packed ;;
    --pack)
      is_packing=1 tree=build/gpu/packing architecture=90
      [[ ! "${2:-}" =~ ^[0-9]+$ ]] || { architecture=$2; shift; }
      ;;
    *) usage ;;
  esac
  shift
done
if [ "$backend" = EMULATED ]; then
  bench_options=(--rows 4096 --dims '16,64' --repeats 2)
  train_options=(--samples 8000 --batch 256 --dim 8 --hidden '24,16' --cache-rows 20000)
elif [ "$is_packing" -eq 0 ]; then
  find_card
  [ "$quick" -eq 0 ] || bench_options=(--dims '16,64' --repeats 5)
fi
[ "$backend" = EMULATED ] || cmake_options=("-DCMAKE_CUDA_ARCHITECTURES=$architecture-real")
[ "$quick" -eq 0 ] || sanitizer_tools=(memcheck racecheck)

mkdir -p build/gpu
[ "$dry_run" -eq 1 ] || rm -f build/gpu/*.log
if [ "$is_packing" -eq 1 ]; then
  pack_options
  step packages && step configure || exit 1
  [ "$dry_run" -eq 1 ] || mapfile -t build_options < <(printf '%s\n' --target hotrow_program; test_programs | sed 's|.*/||')
  step build && step pack
  exit "$failed"
fi
if [ "$is_packed" -eq 1 ]; then
  unpack
elif ! { step packages && step configure && step build; }; then
  [ "$dry_run" -eq 1 ] || print_summary
  exit 1
fi
for name in tests client bench train; do step "$name" || true; done
[ "$backend" = EMULATED ] || step sanitizers || true
[ "$dry_run" -eq 1 ] || print_summary | tee build/gpu/summary.log
exit "$failed"
