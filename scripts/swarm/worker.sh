#!/bin/sh
# A worker that uses only the `raven` command: it takes jobs from the queue of the Python workers, one at a time.
# usage: worker.sh NAME       worker.sh NAME review     (the second form reviews the file of one job, JSON on stdin)
set -eu

if [ $# -eq 1 ]; then
    raven subscribe --address review:jobs --ack manual --exec "sh '$0' '$1' review" --timeout 90s &
    worker=$!
    trap 'kill $worker; wait $worker || true' EXIT
    # The broadcasts: start, stop.
    raven subscribe --address "$1:demo" --count 2 --timeout 90s >/dev/null
    exit
fi

job=$(cat)
id=$(printf '%s\n' "$job" | sed 's/^{"id": *\([0-9]*\).*/\1/')
path=$(printf '%s\n' "$job" | sed 's/.*"body": *{"path": *"\([^"]*\)"}.*/\1/')
# Locale C.UTF-8, so that length() counts characters and not bytes.
body=$(LC_ALL=C.UTF-8 awk -v path="$path" '
    function found(finding) { findings = findings (findings ? "," : "") "\"" FNR ": " finding "\"" }
    FNR == 1 && !/^r?"""/ && !/^#/ { found("no docstring") }
    length($0) > 120               { found("over 120 characters") }
    /[ \t]$/                       { found("blanks at the end") }
    /^ *except:/                   { found("bare except") }
    /^ *(async )?def /             { functions++ }
    END { printf "{\"path\":\"%s\",\"lines\":%d,\"functions\":%d,\"findings\":[%s]}", path, FNR, functions, findings }
    ' "$path")
raven send --from "$1:demo" --to editor:demo -t findings --reply-to "$id" --body "$body" >/dev/null
