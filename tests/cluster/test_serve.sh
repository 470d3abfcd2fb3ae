#!/usr/bin/env bash
# hotrow serve as a process: when it is ready, how it ends, what it refuses.
# shellcheck source=cluster_lib.sh disable=SC2154
. "$(dirname "$0")/cluster_lib.sh"

check 'ready lines and ready file, then SIGTERM and SIGINT'
for signal in TERM INT; do
  begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 3 --ready-file "$scratch/ready"
  await test -e "$scratch/ready"
  [[ $(wc -l <"$scratch/ready") == 3 && $(sort -u "$scratch/ready" | wc -l) == 3 ]] || fail "ready file: $(cat "$scratch/ready")"
  diff <(sed 's/^/ready: /' "$scratch/ready") "$scratch/last.out" || fail "ready lines and ready file differ"
  kill "-$signal" "$running"
  finish
  expect_code 0
  expect_err stopping
  [[ ! -e $scratch/ready ]] || fail "the ready file outlived the server"
done

check 'ipc addresses'
begin "$hotrow" serve --bind "ipc://$scratch/shard" --shards 2
await grep -q "ready: ipc://$scratch/shard.1" "$scratch/last.out"
kill "$running"
finish
expect_code 0

check 'only loopback'
for address in 'tcp://0.0.0.0:7117' 'tcp://*:7117' 'tcp://192.0.2.1:7117' 'tcp://[::]:7117'; do
  run "$hotrow" serve --bind "$address" --ready-file "$scratch/ready"
  expect_code 78
  expect_err '^hotrow serve: .*loopback'
  [[ ! -e $scratch/ready ]] || fail "ready file of a server that refused"
done

check 'two servers on one port'
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --ready-file "$scratch/ready"
await test -e "$scratch/ready"
address=$(cat "$scratch/ready")
first=$running
cp "$scratch/last.out" "$scratch/first.out"
run "$hotrow" serve --bind "$address"
expect_code 69
expect_err "^hotrow serve: .*${address##*:}.*in use"
kill -0 "$first" || fail "the first server went"
kill "$first"
wait "$first" || fail "the first server ended with $?"

check 'what it cannot read or write'
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --ready-file /nonexistent/ready
expect_code 74
expect_err '/nonexistent/ready'
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --load "$scratch/nothing"
expect_code 65
expect_err "$scratch/nothing"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --save-dir "$scratch/nothing/saves"
expect_code 74
expect_err "$scratch/nothing/saves: cannot make it"
printf 'shards: 2\0' >"$scratch/zero.yaml"
run "$hotrow" serve --config "$scratch/zero.yaml"
expect_code 78
expect_err 'byte 0'
run "$hotrow" train --shards tcp://127.0.0.1:1 --lr -0.5
expect_code 64
expect_err '--lr is below 0'
run "$hotrow" train --shards tcp://127.0.0.1:1 --dump "$scratch/nothing/dump"
expect_code 74
expect_err "$scratch/nothing/dump"
run "$hotrow" serve --bind nonsense
expect_code 78
run "$hotrow" serve words
expect_code 64
run "$hotrow" nonsense
expect_code 64
expect_err "unknown command 'nonsense'"
run "$hotrow" help serve
expect_code 0
expect_out HOTROW_BIND
run "$hotrow" version
expect_out '^hotrow [0-9]+\.[0-9]+\.[0-9]+$'

check 'a data directory is of one server, of one shard count, and whole'
data=$scratch/data
begin "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --data-dir "$data" --ready-file "$scratch/ready"
await test -e "$scratch/ready"
first=$running
cp "$scratch/last.out" "$scratch/first.out"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --data-dir "$data"
expect_code 75
expect_err "^hotrow serve: data directory $data is in use"
kill "$first"
wait "$first" || fail "the first server ended with $?"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --data-dir "$data"
expect_code 78
expect_err "^hotrow serve: data directory $data is of 2 shards, this server is of 1"
rm "$data/shard-1-of-2/CURRENT"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --shards 2 --data-dir "$data"
expect_code 65
expect_err "^hotrow serve: data directory $data/shard-1-of-2 .*CURRENT"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --data-dir "$scratch/no/such"
expect_code 74
expect_err "$scratch/no/such"
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --data-dir "$data" --cut-interval-ms 86400001
expect_code 64
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --data-dir "$data" --durability paper
expect_code 64
run "$hotrow" serve --bind 'tcp://127.0.0.1:*' --durability log
expect_code 78
expect_err 'there is no data_dir'
run "$hotrow" launch --durability none --data-dir "$data" --restart-shards -- train
expect_code 64

check 'a config file'
printf 'shards: 2\nbind: "tcp://127.0.0.1:*"\nshard_cuont: 2\n' >"$scratch/serve.yaml"
run "$hotrow" serve --config "$scratch/serve.yaml"
expect_code 78
expect_err 'serve.yaml:3: .*shard_cuont.*shard_count'
sed -i 's/cuont/count/' "$scratch/serve.yaml"
begin "$hotrow" serve --config "$scratch/serve.yaml" --ready-file "$scratch/ready"
await test -e "$scratch/ready"
[[ $(wc -l <"$scratch/ready") == 2 ]] || fail "the file's shards were not taken"
kill "$running"
finish
expect_code 0
expect_nothing_left
echo passed
