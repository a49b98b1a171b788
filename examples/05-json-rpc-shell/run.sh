#!/usr/bin/env bash
# Start a server and a build agent, send it three shell scripts to check, and print its replies. All in bash.
# usage: [RPC_TOOL=socat|nc] run.sh [FOLDER]     FOLDER gets the bus file (default: a new temporary folder)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=raven.sh
. "$here/raven.sh"

# Also find raven in the environment of a clone.
command -v raven >/dev/null || PATH="$here/../../.venv/bin:$PATH"
for program in raven jq "$RPC_TOOL"; do
    command -v "$program" >/dev/null || { echo "error: the program $program is not there: install it" >&2 && exit 2; }
done
folder=${1:-$(mktemp -d "${TMPDIR:-/tmp}/raven-json-rpc-shell-XXXXXX")}
# From inside the folder the socket has a short name: the path of a socket is limited to about a hundred bytes.
cd "$folder"
if [ -e bus.db ]; then
    echo "error: $folder/bus.db exists already: each run makes a bus of its own" >&2
    exit 2
fi
export RAVEN_SOCKET=bus.db.sock RPC_TOOL

server='' agent=''
clean_up() {
    exec 3>&- 4<&-
    # shellcheck disable=SC2086 # an empty pid is none
    kill $agent $server 2>/dev/null || true
    wait
}
trap clean_up EXIT

# The server prints one line when it listens; this read waits for it.
mkfifo ready
raven serve --db bus.db --socket "$RAVEN_SOCKET" >ready &
server=$!
read -r _ <ready
rm ready
echo "server     ready, reached with $RPC_TOOL"

# give NAME SCRIPT: send a script to the agent.
give() {
    local id
    id=$(send conductor:ci agent:ci check "$(jq -cn --arg name "$1" --arg script "$2" '{name: $name, script: $script}')")
    echo "conductor  sent #$id $1"
}

# The first script waits on the bus until the agent starts.
give hello.sh 'echo hello'
bash "$here/agent.sh" agent:ci &
agent=$!
give broken.sh 'if true; then echo "no fi"'
# shellcheck disable=SC2016 # to be expanded nowhere
give loop.sh 'for n in 1 2 3; do echo "$n"; done'

connect
subscribe conductor:ci auto 1
heard=0
while [ "$heard" -lt 3 ] && next_line 30; do
    if [ "$KIND" = message ]; then
        heard=$((heard + 1))
        echo "conductor  heard of #$(of_message .reply_to) $(of_message .body.name): $(of_message .body.verdict)"
    fi
done
disconnect
[ "$heard" -eq 3 ] || { echo "error: only $heard of 3 verdicts came" >&2 && exit 1; }

send conductor:ci agent:ci no-more '{}' >/dev/null
wait "$agent"
agent=''

report=$(inbox archive:ci)
echo "archive    has #$(jq .id <<<"$report"): $(jq -r '.body | "\(.checked) scripts checked, \(.bad) bad"' <<<"$report")"
ack archive:ci "$(jq .id <<<"$report")"
echo "archive    acked it; left in the inbox: $(inbox archive:ci | wc -l | tr -d ' ')"

if refused=$(call ack '{"role": "archive:ci", "id": 999}' 2>&1); then
    echo "error: message 999 is not there, and was acked" >&2
    exit 1
fi
echo "archive    cannot ack what is not there: $refused"

kill "$server"
wait "$server"
server=''
echo "server     stopped"
echo "bus: $PWD/bus.db"
