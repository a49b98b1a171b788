# shellcheck shell=bash
# Functions to use a raven bus from bash, through the socket of its server (`raven serve`). Sourced, not run.
#
#   RAVEN_SOCKET    socket of the server
#   RPC_TOOL        socat (default) or nc, which is netcat-openbsd

: "${RAVEN_SOCKET:=bus.db.sock}" "${RPC_TOOL:=socat}"

# Copy lines from stdin to the server and its lines to stdout, until both end.
wire() {
    case $RPC_TOOL in
        # Without -t socat waits only half a second for the last responses.
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

# call METHOD PARAMS: make one call over a connection of its own; print the result, or print the error and fail.
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

# inbox ADDRESS: print the unacked messages of the address, one per line.
inbox() {
    call inbox "$(jq -cn --arg role "$1" '{role: $role}')" | jq -c '.messages[]'
}

# ack ADDRESS ID: finish a message.
ack() {
    call ack "$(jq -cn --arg role "$1" --argjson id "$2" '{role: $role, id: $id}')" >/dev/null
}

# Open a lasting connection: descriptor 3 writes to the server, descriptor 4 reads its lines.
connect() {
    local folder
    folder=$(mktemp -d)
    mkfifo "$folder/to" "$folder/from"
    wire <"$folder/to" >"$folder/from" &
    exec 3>"$folder/to" 4<"$folder/from"
    rm -r "$folder"
}

# tell ID METHOD PARAMS: write a request to the open connection; descriptor 4 gets the response, with this ID.
tell() {
    request "$@" >&3
}

# subscribe ADDRESS auto|manual WINDOW: subscribe the open connection to the messages of an address.
subscribe() {
    tell subscribed subscribe "$(jq -cn --arg role "$1" --arg ack "$2" --argjson window "$3" \
        '{role: $role, ack: $ack, window: $window}')"
}

# next_line [TIMEOUT_S]: read the next line of the open connection into LINE, and its kind into KIND: `message`, `end`, or
# the ID of the request that it answers. Fails at the end of the connection, after the timeout, or on an error.
# shellcheck disable=SC2034 # KIND is for the caller
next_line() {
    IFS= read -r ${1:+-t "$1"} LINE <&4 || return 1
    KIND=$(jq -r 'if .error then "error: \(.error.message)\n" | halt_error(1) else .method // .id end' <<<"$LINE")
}

# of_message FILTER: apply a jq filter to the last pushed message.
of_message() {
    jq -cr ".params.message | $1" <<<"$LINE"
}

# End the requests; the server answers the pending ones, and closes.
disconnect() {
    exec 3>&-
    cat <&4 >/dev/null
    exec 4<&-
}
