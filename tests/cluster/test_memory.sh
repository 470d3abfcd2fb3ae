#!/usr/bin/env bash
# What a server counts of its memory is what the system says that it has, while rows are made and trained on, cut, and
# leave, and when it rests.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
worker=$2
if [[ $brief ]]; then
  echo "SKIPPED: a sanitizer has memory of its own, and malloc's place"
  exit 77
fi

start_server() { # OPTIONS...
  begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --ready-file "$scratch/ready" "$@"
  await test -e "$scratch/ready"
  server=$running
  shards=$(paste -sd, "$scratch/ready")
}

# The system's figure in the statistics is what it says of this process.
system_agrees() {
  local told found
  told=$("$hotrow" top --once --json --interval-ms 300 --shards "$shards" | sed -n '1s/.*"process_bytes":\([0-9]*\).*/\1/p')
  found=$(awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$server/status")
  awk "BEGIN { d = $told - $found; exit !(d < 12582912 && d > -12582912) }"
}

end_server() {
  await system_agrees
  kill "$server"
  wait "$server" || fail "the server ended with $?"
}

hold() { # ROWS BATCHES
  "$worker" "$shards" "$1" 16 "$2" 600 >"$scratch/worker.out" 2>"$scratch/worker.err" || fail "the worker ended with $?"
  cat "$scratch/worker.out"
}

check 'without a data directory'
start_server --shards 2
hold 400000 10
end_server

for durability in cut log; do
  check "with one, durability $durability: cuts of much, and of little"
  start_server --data-dir "$scratch/$durability" --durability "$durability" --cut-bytes 32MiB
  hold 400000 20
  hold 400000 0
  end_server
done

check 'with one and a bound: rows leave'
start_server --data-dir "$scratch/bound" --memory 128MiB
hold 500000 10
grep -q 'rows left memory' "$scratch/worker.out" || fail 'no row has left'
end_server

check 'started again: rows come back from the disk'
start_server --data-dir "$scratch/bound" --memory 128MiB
hold 500000 5
end_server
