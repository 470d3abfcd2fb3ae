#!/usr/bin/env bash
# What a user gets: installs into an empty prefix, moves it, and builds and runs programs against nothing but that.
# test_install.sh BUILD_DIR SOURCE_DIR CC CXX SANITIZERS
set -euo pipefail
build=$1 source=$2 cc=$3 cxx=$4 sanitize=${5:-}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-install-XXXXXX")
server=
clean_up() {
  [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
  rm -rf "$scratch"
}
trap clean_up EXIT
fail() { echo "FAILED: $*"; exit 1; }
check() { echo "- $*"; }
flags=(-Wall -Wextra -Wpedantic -Werror)
[[ -z $sanitize ]] || flags+=("-fsanitize=$sanitize")

check 'install, and move what was installed'
cmake --install "$build" --prefix "$scratch/first" >"$scratch/install.log" || fail "$(tail "$scratch/install.log")"
prefix=$scratch/moved
mv "$scratch/first" "$prefix"
library=$(find "$prefix" -name libhotrow.so.0)
[[ -n $library ]] || fail "no libhotrow.so.0"
for file in bin/hotrow include/hotrow/hotrow.h include/hotrow/server.h include/hotrow/checkpoint.h libexec/hotrow/shards.sh; do
  [[ -e $prefix/$file ]] || fail "no $file"
done
[[ ! -e $prefix/include/hr ]] || fail "internal headers were installed"
export LD_LIBRARY_PATH=${library%/*} PKG_CONFIG_PATH=${library%/*}/pkgconfig
[[ $(pkg-config --modversion hotrow) == $("$prefix/bin/hotrow" version | cut -d' ' -f2) ]] || fail "versions differ"

check 'the library exports hotrow_* and nothing else'
nm -D --defined-only "$library" | awk '{ print $NF }' >"$scratch/symbols"
! grep -vE '^(hotrow_[a-z_0-9]+@@HOTROW_0\.1|HOTROW_0\.1(@@HOTROW_0\.1)?)$' "$scratch/symbols" || fail "foreign symbols"
# every function of the headers is there
cat "$prefix"/include/hotrow/*.h | tr '\n' ' ' | grep -oE 'HOTROW_API [^;]*' | grep -oE '\bhotrow_[a-z_0-9]+\(' |
  tr -d '(' | sort -u >"$scratch/declared"
[[ -s $scratch/declared ]] || fail "no declared functions found"
while read -r name; do
  grep -q "^$name@@" "$scratch/symbols" || fail "$name is declared and not exported"
done <"$scratch/declared"
echo "  $(wc -l <"$scratch/declared") functions"

check 'each header alone, as C11 and as C++17'
for header in "$prefix"/include/hotrow/*.h; do
  name=hotrow/${header##*/}
  echo "#include <$name>" >"$scratch/alone.c"
  cp "$scratch/alone.c" "$scratch/alone.cpp"
  "$cc" -std=c11 "${flags[@]}" -I"$prefix/include" -fsyntax-only "$scratch/alone.c" || fail "$name as C11"
  "$cxx" -std=c++17 "${flags[@]}" -I"$prefix/include" -fsyntax-only "$scratch/alone.cpp" || fail "$name as C++17"
done

check 'the example by pkg-config, a C++ program, and both by find_package'
read -ra cflags <<<"$(pkg-config --cflags hotrow)"
read -ra libs <<<"$(pkg-config --libs hotrow)"
"$cc" -std=c11 "${flags[@]}" "${cflags[@]}" "$source/worker/examples/lookup_push.c" "${libs[@]}" -o "$scratch/example"
"$cxx" -std=c++17 "${flags[@]}" "${cflags[@]}" "$here/consumer.cpp" "${libs[@]}" -o "$scratch/consumer"
mkdir "$scratch/package"
cp "$here/consumer.cmake" "$scratch/package/CMakeLists.txt"
cp "$source/worker/examples/lookup_push.c" "$here/consumer.cpp" "$scratch/package"
cmake -S "$scratch/package" -B "$scratch/package/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_FLAGS="${flags[*]}" -DCMAKE_CXX_FLAGS="${flags[*]}" \
  >"$scratch/package.log" 2>&1 || fail "find_package: $(cat "$scratch/package.log")"
cmake --build "$scratch/package/build" >"$scratch/package.log" 2>&1 || fail "find_package: $(cat "$scratch/package.log")"

check 'they run against the installed server'
"$prefix/bin/hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --ready-file "$scratch/ready" &
server=$!
for ((i = 0; i < 400; i++)); do
  [[ -e $scratch/ready ]] && break
  sleep 0.05
done
shards=$(paste -sd, "$scratch/ready")
# Film 7 is twice in the batch: its gradients (1, 2) and (5, 6) are one step of learning rate 0.5.
"$scratch/example" "$shards" >"$scratch/said" || fail "the example ended with $?"
diff - "$scratch/said" <<'TEXT' || fail "the example said something else"
film 7: -3 -4
film 1999: -1.5 -2
film 7: -3 -4
TEXT
"$scratch/package/build/example" "$shards" >"$scratch/said" || fail "the example by find_package ended with $?"
grep -q '^film 7: -6 -8$' "$scratch/said" || fail "the second run did not go on from the first: $(cat "$scratch/said")"
for program in "$scratch/consumer" "$scratch/package/build/consumer"; do
  "$program" "$shards" || fail "$program ended with $?"
done
! "$scratch/example" nonsense 2>"$scratch/said" || fail "the example took a nonsense address"
grep -q 'nonsense' "$scratch/said" || fail "the refusal does not name the address: $(cat "$scratch/said")"
kill "$server"
wait "$server" || fail "the server ended with $?"
server=

check 'installed shards.sh finds the installed program'
env -u HOTROW_PROGRAM "$prefix/libexec/hotrow/shards.sh" start 1 --dir "$scratch/run" --bind-base 'tcp://127.0.0.1:*' |
  grep -q '^HOTROW_SHARDS=tcp://' || fail "shards.sh start"
"$prefix/libexec/hotrow/shards.sh" stop --dir "$scratch/run"
echo passed
