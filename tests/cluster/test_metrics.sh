#!/usr/bin/env bash
# hotrow serve --metrics: what it tells over HTTP, when it says ready, and where it refuses to listen.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"

# The answer to a request; its body is in $scratch/body, its status in $status.
ask() { # PATH [METHOD]
  local host=${address%:*} port=${address##*:}
  exec 3<>"/dev/tcp/$host/$port" || fail "cannot connect to $address"
  printf '%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${2:-GET}" "$1" "$address" >&3
  tr -d '\r' <&3 >"$scratch/answer"
  exec 3>&-
  status=$(sed -n '1s/^HTTP\/1.1 \([0-9]*\) .*/\1/p' "$scratch/answer")
  sed '1,/^$/d' "$scratch/answer" >"$scratch/body"
}
expect_status() { [[ $status == "$1" ]] || fail "status $status, expected $1: $(cat "$scratch/answer")"; }
expect_body() { grep -qE -- "$1" "$scratch/body" || fail "the body does not say /$1/: $(cat "$scratch/body")"; }

start_server() { # OPTIONS...
  begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --metrics '127.0.0.1:*' --ready-file "$scratch/ready" "$@"
  await test -e "$scratch/ready"
  server=$running
  shards=$(paste -sd, "$scratch/ready")
  address=$(sed -n 's|^metrics: http://\(.*\)/metrics$|\1|p' "$scratch/last.out")
  [[ $address =~ ^127\.0\.0\.1:[0-9]+$ ]] || fail "no address of the metrics"
  cp "$scratch/last.out" "$scratch/server.out"
}

check 'off unless asked for, and only on loopback'
for bad in 0.0.0.0:9117 192.0.2.1:9117 '[::]:9117' example.com:9117 127.0.0.1 nonsense; do
  run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --metrics "$bad"
  expect_code 78
  expect_err "^hotrow serve: metrics: .*(loopback|ADDRESS:PORT)"
done
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --ready-file "$scratch/ready"
await test -e "$scratch/ready"
! grep -q metrics "$scratch/last.out" || fail 'metrics that nobody asked for'
kill "$running"
finish

check 'alive, ready, and nothing else'
start_server --shards 2
ask /healthz
expect_status 200
ask /readyz
expect_status 200
expect_body '^2 shards serve$'
ask /metrics HEAD
expect_status 200
[[ ! -s $scratch/body ]] || fail 'a body after HEAD'
for path in / /metricsx '/../etc/passwd'; do
  ask "$path"
  expect_status 404
done
ask /metrics POST
expect_status 405
grep -qi '^allow: GET, HEAD' "$scratch/answer" || fail 'what is allowed is not said'
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --metrics "$address"
expect_code 69
expect_err "^hotrow serve: metrics: cannot listen on $address: .*in use"

check 'numbers of a job, up to date when it has ended'
run "$hotrow" train --shards "$shards" --samples 20000
expect_code 0
ask /metrics # first: what the shard is asked makes it look at its counts
run "$hotrow" top --shards "$shards" --once --json --interval-ms 200
expect_status 200
grep -qi '^content-type: text/plain; version=0.0.4' "$scratch/answer" || fail 'not the type of the text format'
for name in pulls pushes rows_pulled rows_pushed; do
  told=$(sed -n "s/^hotrow_${name}_total{shard=\"1\"} //p" "$scratch/body")
  counted=$(sed -n "s/^{\"shard\":1,.*\"stats\":.*\"$name\":\([0-9]*\),.*/\1/p" "$scratch/last.out")
  [[ -n $told && $told -gt 0 && $told == "$counted" ]] || fail "$name: $told by metrics, $counted by the shard"
done
expect_body '^hotrow_request_seconds_count\{shard="0"\} [1-9]'

check 'who says nothing, or never ends its request, hinders nobody'
for ((i = 0; i < 30; i++)); do
  exec {fd}<>"/dev/tcp/${address%:*}/${address##*:}" && printf 'GET /met' >&"$fd"
  idle+=("$fd")
done
kill -0 "$server" || fail 'the server went'
for fd in "${idle[@]}"; do exec {fd}>&-; done
is_answered() { ask /healthz && [[ $status == 200 ]]; }
await is_answered
kill "$server"
wait "$server" || fail "the server ended with $?"

check 'a data directory that fails: alive and not ready'
(ulimit -f 512 && exec "$hotrow" serve --bind 'tcp://127.0.0.1:*' --metrics '127.0.0.1:*' --data-dir "$scratch/data" \
  --ready-file "$scratch/ready" >"$scratch/server.out" 2>"$scratch/server.err") &
server=$!
await test -e "$scratch/ready"
address=$(sed -n 's|^metrics: http://\(.*\)/metrics$|\1|p' "$scratch/server.out")
ask /readyz
expect_status 200
begin "$hotrow" train --shards "$(cat "$scratch/ready")" --samples 400000
is_degraded() { ask /readyz && [[ $status == 503 ]] && grep -q 'shard 0 is degraded' "$scratch/body"; }
await is_degraded
ask /healthz
expect_status 200
ask /metrics
expect_body '^hotrow_degraded\{shard="0"\} 1$'
kill "$running"
finish
kill "$server"
wait "$server"
code=$?
expect_code 74
expect_nothing_left
echo passed
