#!/usr/bin/env bash
# Shard servers alone on this machine, for a job that is started elsewhere.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: shards.sh start N [--bind-base ADDRESS] [--data-dir DIR] [--save-dir DIR] [--load DIR] [--dir RUNDIR]
                       [--timeout SECONDS]
       shards.sh status [--dir RUNDIR]
       shards.sh stop [--dir RUNDIR] [--timeout SECONDS]

start   starts N servers of one shard each and waits until all serve. On stdout, one line to export:
        HOTROW_SHARDS=ADDRESS,ADDRESS,...     (export "$(shards.sh start 4)")
status  one line per shard: its process, address and whether it runs
stop    ends them: TERM, and KILL for those still there after the timeout

  --bind-base ADDRESS  of shard 0; shard i is on the port i above it. tcp://127.0.0.1:* takes free ports.
                       Default tcp://127.0.0.1:7117
  --data-dir DIR       where the rows are kept: a later start of as many shards goes on from there
  --save-dir DIR       where saves go; without it saves are refused
  --load DIR           a save to start from
  --dir RUNDIR         pid, address and log of each shard. Default $XDG_RUNTIME_DIR/hotrow-shards,
                       or /tmp/hotrow-shards-UID
  --timeout SECONDS    until all serve, or until all have ended. Default 30

The program is $HOTROW_PROGRAM, else the one installed beside this script, else `hotrow` in PATH.
exit codes: 0 done, 64 usage, 69 a shard did not start, or status found one that does not run, 75 shards run there already
TEXT
}

say() { printf 'shards.sh: %s\n' "$*" >&2; }
usage_error() { say "$*"; usage >&2; exit 64; }

find_program() {
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  if [[ -n ${HOTROW_PROGRAM:-} ]]; then echo "$HOTROW_PROGRAM"
  elif [[ -x $here/../../bin/hotrow ]]; then echo "$here/../../bin/hotrow"
  elif command -v hotrow; then :
  else say "no program hotrow: set HOTROW_PROGRAM"; exit 69
  fi
}

# When the process started, in clock ticks: with the pid it names one process for good, as a pid alone does not.
start_time() { # PID
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }" # the name before it may hold anything
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

is_running() { # PIDFILE
  local pid started
  read -r pid started <"$1" 2>/dev/null && [[ $(start_time "$pid") == "$started" ]]
}

any_running() {
  local file
  for file in "$dir"/shard-*.pid; do
    [[ -e $file ]] && is_running "$file" && return 0
  done
  return 1
}

signal_all() { # SIGNAL
  local file pid _
  for file in "$dir"/shard-*.pid; do
    if [[ -e $file ]] && is_running "$file"; then
      read -r pid _ <"$file"
      kill "-$1" "$pid" 2>/dev/null || true
    fi
  done
}

wait_for_end() { # SECONDS
  local deadline=$((SECONDS + $1))
  while any_running; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

stop_all() {
  signal_all TERM
  if ! wait_for_end "$timeout"; then
    say "still there after $timeout s: killed"
    signal_all KILL
    wait_for_end 5 || say "a shard cannot be killed"
  fi
  rm -f "$dir"/shard-*.pid "$dir"/shard-*.ready
}

address_of() { # INDEX
  if [[ $bind_base =~ ^(tcp://.*:)([0-9]+)$ ]]; then
    echo "${BASH_REMATCH[1]}$((10#${BASH_REMATCH[2]} + $1))"
  elif [[ $bind_base == tcp://*:\* ]]; then
    echo "$bind_base"
  elif [[ $bind_base == ipc://?* ]]; then
    echo "$bind_base.$1"
  else
    usage_error "--bind-base $bind_base is not tcp://HOST:PORT, tcp://HOST:* or ipc://PATH"
  fi
}

start_one() { # INDEX
  local base=$dir/shard-$1 address
  address=$(address_of "$1")
  # An exported HOTROW_SHARDS is a list of addresses: --shards on the command line is stronger.
  setsid "$program" serve --shards 1 --shard-first "$1" --shard-count "$count" --bind "$address" \
    --ready-file "$base.ready" "${serve_options[@]}" </dev/null >"$base.log" 2>&1 &
  echo "$! $(start_time "$!" || echo gone)" >"$base.pid"
}

# Returns once all serve; else says which does not and why.
wait_for_ready() {
  local deadline=$((SECONDS + timeout)) i base
  for ((i = 0; i < count; i++)); do
    base=$dir/shard-$i
    until [[ -e $base.ready ]]; do
      if ! is_running "$base.pid"; then
        say "shard $i ended before it served:"
        tail -n 5 "$base.log" >&2
        return 1
      fi
      if ((SECONDS >= deadline)); then
        say "shard $i does not serve after $timeout s; its log is $base.log"
        return 1
      fi
      sleep 0.05
    done
  done
}

start() {
  [[ $count =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "start needs the number of shards, 1 to 1024, not '$count'"
  ((count <= 1024)) || usage_error "start needs the number of shards, 1 to 1024, not '$count'"
  address_of 0 >/dev/null
  program=$(find_program)
  (umask 077 && mkdir -p "$dir")
  if [[ ! -O $dir || -L $dir ]]; then
    say "$dir is not ours: name another with --dir"
    exit 69
  fi
  if any_running; then
    say "shards run already in $dir: shards.sh stop --dir $dir ends them"
    exit 75
  fi
  rm -f "$dir"/shard-*.pid "$dir"/shard-*.ready "$dir"/shard-*.log
  trap 'say "interrupted"; stop_all; exit 130' INT TERM HUP
  local i list=""
  for ((i = 0; i < count; i++)); do
    start_one "$i"
  done
  if ! wait_for_ready; then
    stop_all
    exit 69
  fi
  for ((i = 0; i < count; i++)); do
    list+=${list:+,}$(<"$dir/shard-$i.ready")
  done
  echo "HOTROW_SHARDS=$list"
}

status() {
  local file base pid _ word code=0 found=0
  for file in "$dir"/shard-*.pid; do
    [[ -e $file ]] || continue
    found=1
    base=${file%.pid}
    read -r pid _ <"$file"
    if is_running "$file" && [[ -e $base.ready ]]; then word=serves
    elif is_running "$file"; then word=starts; code=69
    else word="does not run"; code=69
    fi
    echo "shard ${base##*-} pid $pid $(cat "$base.ready" 2>/dev/null || echo "no address") $word"
  done
  if ((!found)); then
    say "no shards in $dir"
    code=69
  fi
  return "$code"
}

dir=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/hotrow-shards}
dir=${dir:-/tmp/hotrow-shards-$(id -u)}
bind_base=tcp://127.0.0.1:7117
timeout=30
count=
serve_options=()

verb=${1:-}
shift || true
if [[ $verb == start && $# -gt 0 && $1 != --* ]]; then
  count=$1
  shift
fi
while (($# > 0)); do
  [[ $1 == --help ]] && { usage; exit 0; }
  (($# > 1)) || usage_error "$1 needs a value, or is not known"
  case $verb:$1 in
    start:--bind-base) bind_base=$2 ;;
    start:--data-dir | start:--save-dir | start:--load) serve_options+=("$1" "$2") ;;
    start:--dir | status:--dir | stop:--dir) dir=$2 ;;
    start:--timeout | stop:--timeout) timeout=$2 ;;
    *) usage_error "unknown option $1" ;;
  esac
  shift 2
done
[[ $timeout =~ ^[0-9]{1,6}$ ]] || usage_error "--timeout $timeout is not a number of seconds"

case $verb in
  start) start ;;
  status) status ;;
  stop) stop_all ;;
  --help | -h | help) usage ;;
  *) usage_error "say start, status or stop" ;;
esac
