#!/usr/bin/env bash
# hotrow top beside running shards: what it prints, what it makes of silence, and how it leaves a terminal.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"
terminal=$(dirname "$0")/terminal.py

start_server() { # BIND
  begin "$hotrow" serve --bind "$1" --shards 2 --ready-file "$scratch/ready"
  await test -e "$scratch/ready"
  server=$running
  cp "$scratch/last.out" "$scratch/server.out"
  cp "$scratch/last.err" "$scratch/server.err"
}
stop_server() {
  kill "$server"
  wait "$server" || fail "the server ended with $?"
}

check 'it must be told where the shards are'
run "$hotrow" top
expect_code 64
expect_err 'HOTROW_SHARDS'
run "$hotrow" top --shards 'nonsense'
expect_code 78
expect_err '^hotrow top: .*nonsense'
run "$hotrow" top --shards 'tcp://127.0.0.1:1' --interval-ms 0
expect_code 64

start_server 'tcp://127.0.0.1:*'
shards=$(paste -sd, "$scratch/ready")
first=${shards%%,*}

check 'one interval, as a table and as JSON, from the environment'
HOTROW_SHARDS=$shards run "$hotrow" top --once --interval-ms 300
expect_code 0
expect_out '^ +0 ok +0 +0 +0 '
expect_out '^ +1 ok '
expect_out '^ +all ok '
run "$hotrow" top --shards "$shards" --once --json --interval-ms 300
expect_code 0
[[ $(wc -l <"$scratch/last.out") == 2 ]] || fail 'not a line per shard'
expect_out '^\{"shard":1,"endpoint":"tcp://[0-9.:]+","state":"ok","seconds":0\.[0-9]+,"pulls_per_s":0\.0,.*"stats":\{"shard":1,.*\}\}$'

check 'rates of a job that launch runs'
begin "$hotrow" launch --workers 1 --shards 2 -- train --samples 100000000
await grep -q '^hotrow launch: hotrow top --shards ' "$scratch/last.err"
job=$running
HOTROW_SHARDS=$(sed -n 's/^hotrow launch: hotrow top --shards //p' "$scratch/last.err")
export HOTROW_SHARDS
is_seen() { "$hotrow" top --once --json --interval-ms 500 | grep -q '"pulls_per_s":[1-9].*"p50_us":[0-9.]*,.*"memory_bytes":[1-9]'; }
await is_seen
kill "$job"
wait "$job"
unset HOTROW_SHARDS

check 'a shard that does not answer, and one that is another'
run "$hotrow" top --shards "$shards,tcp://127.0.0.1:1" --once --interval-ms 300
expect_code 69
expect_out '^ +0 refused +tcp://.*takes it for shard 0 of 3$'
expect_out '^ +2 silent +tcp://127.0.0.1:1$'

check 'a server that stops and is started again'
begin "$hotrow" top --shards "$shards" --json --interval-ms 200
top=$running
await grep -q '"shard":1,.*"state":"ok","seconds"' "$scratch/last.out"
stop_server
await grep -q '"shard":1,.*"state":"silent"}$' "$scratch/last.out"
cp "$scratch/last.out" "$scratch/before.out"
"$hotrow" serve --bind "$first" --shards 1 --shard-count 2 >"$scratch/server.out" 2>"$scratch/server.err" &
server=$!
is_back() { tail -n +"$(($(wc -l <"$scratch/before.out") + 1))" "$scratch/last.out" | grep -q '"shard":0,.*"state":"ok","seconds"'; }
await is_back
kill "$top"
wait "$top"
code=$?
expect_code 69 # the other shard is still away
stop_server

check 'on a terminal: q, Ctrl-C and SIGTERM leave it as it was; a resize redraws'
start_server "ipc://$scratch/shard"
shards=$(paste -sd, "$scratch/ready")
for last in KEY:q 'KEY:^C' SIGNAL:15; do
  run python3 "$terminal" "WAIT:ROWS/s WAIT:all KEY:^Z KEY:x SIZE:12x30 WAIT:all PAUSE:0.3 $last" "$hotrow" top --shards "$shards"
  expect_code 0
  expect_out '^code 0$'
  expect_out '^modes as before$'
  expect_out "\\\\x1b\[\?25h\\\\x1b\[\?1049l'$" # cursor and screen are back, and nothing came after that
  expect_out '  all ok'
  expect_out 'SHARD STATE    PULL/s PUSH/s \\x1b' # cut at 29 of 30 columns
done
stop_server
expect_nothing_left
echo passed
