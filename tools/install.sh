#!/usr/bin/env bash
# Installs the Debian packages that are missing. Arguments: "build" or "test" (which includes build).
# Needs root only when something is missing; with everything there it uses no network.
set -euo pipefail

build=(build-essential cmake ninja-build pkg-config xz-utils
  libzmq3-dev libxxhash-dev librocksdb-dev libcyaml-dev libyaml-dev libmicrohttpd-dev libopenblas-dev liblzma-dev zlib1g-dev)
check=(clang libclang-rt-14-dev clang-format clang-tidy procps python3 spin)

packages=("${build[@]}")
[ "${1:-build}" = test ] && packages+=("${check[@]}")

command -v dpkg-query >/dev/null || { echo "this is no Debian: whatever is missing, cmake will say" >&2; exit 0; }
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}" >&2
if [ "$(id -u)" -ne 0 ]; then
  echo "run as root, or install these packages first: ${missing[*]}" >&2
  exit 77
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
impatient=(-o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20) # where there is no network
if ! { apt-get "${impatient[@]}" update && apt-get "${impatient[@]}" install -y --no-install-recommends "${missing[@]}"; } \
  >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get failed (its log: $log), and these packages are missing: ${missing[*]}" >&2
  exit 69
fi
rm -f "$log"
