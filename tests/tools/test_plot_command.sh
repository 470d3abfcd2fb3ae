#!/usr/bin/env bash
# hotrow plot: from lines of JSON to a page.
set -euo pipefail
hotrow=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hotrow-plot-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
page=$scratch/page.html
fail() { echo "FAILED: $*"; exit 1; }
refused() { # CODE WORDS OPTIONS... (stdin: the results)
  local code=0 expected=$1 words=$2
  shift 2
  "$hotrow" plot "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
  [[ $code == "$expected" ]] || fail "exit code $code, expected $expected: $*"
  grep -qF -- "$words" "$scratch/err" || fail "stderr does not say $words: $(cat "$scratch/err")"
}

refused 64 'wants --html' --plots a:b </dev/null
refused 64 'wants --html' --html "$page" --plots a </dev/null
refused 65 'line 2 is no JSON' --html "$page" --plots a:b <<<'{"a": 1}
words'
refused 74 /nonexistent/page.html --html /nonexistent/page.html --plots a:b </dev/null
[[ ! -e $page ]] || fail "a page of bad results"

"$hotrow" plot --html "$page" --plots bytes:auc,bytes:none --series config --columns config,auc,list --title 'a < b' <<'LINES'
{"config": "one & two", "bytes": 10, "auc": 0.5, "list": [1,2]}

{"auc":0.75,"config":"three","bytes":2.5e1}
{"config": "three", "bytes": 30, "auc": "0.9", "note": "auc"}
LINES
grep -q '<h1>a &lt; b</h1>' "$page" || fail title
[[ $(grep -c '<svg' "$page") == 2 ]] || fail "not two plots"
[[ $(grep -c '<circle' "$page") == 3 ]] || fail "not one point per line in the plot of fields that are there"
grep -q '<title>three: 25, 0.75</title>' "$page" || fail "a point's note"
grep -qF '<tr><td>one &amp; two</td><td class="num">0.5</td><td>[1,2]</td></tr>' "$page" || fail "a row of the table"
if command -v xmllint >/dev/null; then xmllint --noout "$page"; fi

image=$scratch/image.svg
refused 74 /nonexistent/image.svg --svg /nonexistent/image.svg --plots a:b </dev/null
"$hotrow" plot --svg "$image" --plots bytes:auc,bytes:none --series config --title 'a < b' <<'LINES'
{"config": "one & two", "bytes": 10, "auc": 0.5}
{"config": "three", "bytes": 30, "auc": 0.9}
LINES
[[ $(head -c 4 "$image") == '<svg' && $(grep -c '<svg' "$image") == 1 ]] || fail "not one image"
grep -qF 'viewBox="0 0 760 796"' "$image" || fail "no room for two plots"
[[ $(grep -c '<circle' "$image") == 2 && $(grep -c '>one &amp; two</text>' "$image") == 2 ]] || fail "points and names"
if command -v xmllint >/dev/null; then xmllint --noout "$image"; fi
echo passed
