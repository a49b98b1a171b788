"""Memory: from which sizes on lines and answers are counted, and how many one connection may hold."""

# A longer line is parsed in a thread, and only after it has room among LongRequests.
LONG_LINE = 64 * 1024
# A longer answer is counted.
LONG_ANSWER = 64 * 1024
# Requests of one connection that wait hold at most this many bytes, or are one request.
MAX_WAITING = 256 * 1024
# A connection is not begun another request while it has not read this many bytes of answers.
MAX_UNREAD = 1024 * 1024
