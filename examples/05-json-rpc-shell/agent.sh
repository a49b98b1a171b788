#!/usr/bin/env bash
# A build agent: receives shell scripts, checks their syntax, replies, and only then acks. Ends at `no-more`.
# usage: RAVEN_SOCKET=... RPC_TOOL=socat|nc agent.sh ADDRESS
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=raven.sh
. "$(dirname "$0")/raven.sh"

me=$1
checked=0 bad=0

# check ID: check the script in the message, and reply; the ID of the request contains the ID of the message.
check() {
    local name verdict
    name=$(of_message .body.name)
    # -n only parses the script, and prints its errors.
    if of_message .body.script | bash -n 2>/dev/null; then
        verdict=good
    else
        verdict=bad
        bad=$((bad + 1))
    fi
    checked=$((checked + 1))
    echo "agent      checked #$1 $name: $verdict"
    tell "answered:$1" send "$(message "$me" "$(of_message .sender)" verdict \
        "$(jq -cn --arg name "$name" --arg verdict "$verdict" '{name: $name, verdict: $verdict}')" "$1")"
}

# tell_ack ID REQUEST: ack a message over the open connection.
tell_ack() {
    tell "$2" ack "$(jq -cn --arg role "$me" --argjson id "$1" '{role: $role, id: $id}')"
}

connect
# A window of 1: one script in progress. If this process dies, the server releases it at once.
subscribe "$me" manual 1
# shellcheck disable=SC2119 # without a timeout
while next_line; do
    case $KIND in
        message)
            id=$(of_message .id)
            case $(of_message .type) in
                check) check "$id" ;;
                no-more)
                    boss=$(of_message .sender)
                    tell_ack "$id" leaving
                    ;;
                *) tell_ack "$id" ignored ;;
            esac
            ;;
        # The reply is committed: only now ack the job.
        answered:*) tell_ack "${KIND#answered:}" acked ;;
        leaving) break ;;
        end) echo "error: the subscription has ended: $LINE" >&2 && exit 1 ;;
    esac
done
disconnect
send "$me" "archive:${boss#*:}" report "$(jq -cn "{checked: $checked, bad: $bad}")" >/dev/null
