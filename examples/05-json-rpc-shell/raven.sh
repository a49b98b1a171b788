# shellcheck shell=bash
# Functions to use a raven bus from bash, through the socket of its server (`raven serve`). Sourced, not run.
#
#   RAVEN_SOCKET    the server's socket
#   RPC_TOOL        socat (default) or nc, which is netcat-openbsd

: "${RAVEN_SOCKET:=bus.db.sock}" "${RPC_TOOL:=socat}"

# Carry lines from stdin to the server and its lines to stdout, until both have ended.
wire() {
    case $RPC_TOOL in
        # Without -t socat waits for the last answers for half a second only.
        socat) socat -t 30 - "UNIX-CONNECT:$RAVEN_SOCKET" ;;
        nc) nc -U -N "$RAVEN_SOCKET" ;;
        *) echo "error: RPC_TOOL is '$RPC_TOOL': set it to socat or nc" >&2 && return 2 ;;
    esac
}

# request ID METHOD PARAMS: print a request as one line.
request() {
    jq -cn --arg id "$1" --arg method "$2" --argjson params "$3" \
        '{jsonrpc: "2.0", method: $method, params: $params, id: $id}'
}

# call METHOD PARAMS: ask once, over a connection of its own; print the result, or the error on stderr and fail.
call() {
    request 1 "$1" "$2" | wire |
        jq -c 'if .error then "error: \(.error.data.kind): \(.error.message)\n" | halt_error(1) else .result end'
}

# message FROM TO TYPE BODY [REPLY_TO]: print the parameters of `send`.
message() {
    jq -cn --arg from "$1" --arg to "$2" --arg type "$3" --argjson body "$4" --argjson reply_to "${5:-null}" \
        '{from: $from, to: $to, type: $type, body: $body, reply_to: $reply_to}'
}

# send FROM TO TYPE BODY [REPLY_TO]: send a message and print its id.
send() {
    call send "$(message "$@")" | jq .id
}

# inbox ADDRESS: print what the address has not acked, a message per line.
inbox() {
    call inbox "$(jq -cn --arg role "$1" '{role: $role}')" | jq -c '.messages[]'
}

# ack ADDRESS ID: finish a message.
ack() {
    call ack "$(jq -cn --arg role "$1" --argjson id "$2" '{role: $role, id: $id}')" >/dev/null
}

# Open a connection that stays: what is written to descriptor 3 goes to the server, its lines come from descriptor 4.
connect() {
    local folder
    folder=$(mktemp -d)
    mkfifo "$folder/to" "$folder/from"
    wire <"$folder/to" >"$folder/from" &
    exec 3>"$folder/to" 4<"$folder/from"
    rm -r "$folder"
}

# tell ID METHOD PARAMS: write a request to the open connection; its answer comes from descriptor 4, with this ID.
tell() {
    request "$@" >&3
}

# subscribe ADDRESS auto|manual WINDOW: have the mail of an address pushed to the open connection.
subscribe() {
    tell subscribed subscribe "$(jq -cn --arg role "$1" --arg ack "$2" --argjson window "$3" \
        '{role: $role, ack: $ack, window: $window}')"
}

# next_line [TIMEOUT_S]: read the next line of the open connection into LINE, and what it is into KIND: `message`, `end`,
# or the ID of the request that it answers. Fails where the connection has ended, none came in time, or on an error.
# shellcheck disable=SC2034 # KIND is for the caller
next_line() {
    IFS= read -r ${1:+-t "$1"} LINE <&4 || return 1
    KIND=$(jq -r 'if .error then "error: \(.error.message)\n" | halt_error(1) else .method // .id end' <<<"$LINE")
}

# of_message FILTER: apply a jq filter to the message that was pushed last.
of_message() {
    jq -cr ".params.message | $1" <<<"$LINE"
}

# Say that no more requests come; the server answers what is left, and closes.
disconnect() {
    exec 3>&-
    cat <&4 >/dev/null
    exec 4<&-
}
