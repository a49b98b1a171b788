#!/bin/sh
# A reviewer that knows nothing but the `raven` command: takes one file at a time, as its fellows in Python do.
set -eu

while message=$(raven subscribe --address reviewer:demo --count 1 --timeout 100 --json); do
    case $message in *'"type":"stop"'*) exit 0 ;; esac
    id=$(printf '%s\n' "$message" | sed 's/^{"id":\([0-9]*\).*/\1/')
    path=$(printf '%s\n' "$message" | sed 's/.*"body":{"path":"\([^"]*\)"}.*/\1/')
    # Locale C.UTF-8, so that length() counts characters and not bytes.
    body=$(LC_ALL=C.UTF-8 awk -v path="$path" -v by="shell $$" '
        function found(what) { findings = findings (findings ? "," : "") "\"" FNR ": " what "\"" }
        FNR == 1 && !/^r?"""/ && !/^#/ { found("no docstring") }
        length($0) > 120               { found("over 120 characters") }
        /[ \t]$/                       { found("blanks at the end") }
        /^ *except:/                   { found("bare except") }
        /^ *(async )?def /             { functions++ }
        END { printf "{\"path\":\"%s\",\"lines\":%d,\"functions\":%d,\"findings\":[%s],\"by\":\"%s\"}",
                     path, FNR, functions, findings, by }' "$path")
    raven send --from reviewer:demo --to editor:demo -t findings \
        --correlation-id "$id" --reply-to "$id" --body "$body" >/dev/null
done
