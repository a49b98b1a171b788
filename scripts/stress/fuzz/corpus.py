"""Corpus: the first inputs of fuzzing, from the document of the protocol, and the words for mutations."""

from __future__ import annotations

# Whole conversations of clients, each the bytes of one connection.
REQUESTS = (
    b'{"jsonrpc":"2.0","method":"ping","id":1}\n',
    b'{"jsonrpc":"2.0","method":"ping"}\n\r\n \n{"jsonrpc":"2.0","method":"ping","id":"\\ud800"}',
    b'{"jsonrpc":"2.0","method":\n{"jsonrpc":"2.0","jsonrpc":"2.0","method":"ping","id":null}\n',
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'[{"jsonrpc":"2.0","method":"ping","id":"a"},{"jsonrpc":"2.0","method":"ping"},7]\n[]\n[[]]\n',
    b'{"jsonrpc":"2.0","method":"ping","params":{"loud":true},"id":1e5}\n',
    b'{"jsonrpc":"2.0","method":"nothing","id":-0.5}\n{"jsonrpc":"1.0","method":"ping","id":1}\n\xff\n\x00\n',
    b'{"jsonrpc":"2.0","method":"send","params":{"from":"boss:s","to":"worker:s","type":"job","body":{"n":1},'
    b'"correlation_id":"c-1","urgency":"fyi","tags":["x"],"dedup_key":"k","expires_in_s":9,"delay_s":0.1},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"send","params":["boss:s",["worker:s","*:s"],"job",[1,NaN,1e999]],"id":2}\n',
    b'{"jsonrpc":"2.0","method":"send_many","params":{"from":"boss:s","messages":[{"to":"guard:night","type":"note"},'
    b'{"to":"worker:s","type":"note","report":"undelivered","max_attempts":2}]},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"inbox","params":{"role":"worker:s","max":1,"peek":true},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"claim","params":{"role":"worker:s","max":2,"lease_s":0.5},"id":2}\n'
    b'{"jsonrpc":"2.0","method":"read","params":{"id":1,"role":"worker:s"},"id":3}\n'
    b'{"jsonrpc":"2.0","method":"recipients","params":[1],"id":4}\n',
    b'{"jsonrpc":"2.0","method":"ack","params":{"id":1,"role":"worker:s","lease":3},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"nack","params":{"id":2,"role":"worker:s","delay_s":5,"reason":"no"},"id":2}\n'
    b'{"jsonrpc":"2.0","method":"extend","params":{"id":2,"role":"worker:s","lease_s":60},"id":3}\n',
    b'{"jsonrpc":"2.0","method":"reply","params":{"id":1,"from":"worker:s","type":"done","body":"ok"},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"request","params":{"from":"a:s","to":"b:s","type":"q","timeout_s":0.001},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"wait_receipt","params":{"id":1,"state":"acked","timeout_s":0.001},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"receipts","params":{"id":1},"id":2}\n',
    b'{"jsonrpc":"2.0","method":"transaction","params":{"calls":[{"method":"ack","params":{"id":1,"role":"a:s"}},'
    b'{"method":"send","params":["a:s","b:s","note"]},{"method":"claim","params":{"role":"b:s"}}]},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"history","params":{"correlation_id":"c-1","role":["a:s","b:s"],"max":3},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"thread","params":{"id":1},"id":2}\n',
    b'{"jsonrpc":"2.0","method":"subscribe","params":{"role":"worker:s","ack":"manual","window":2},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"unsubscribe","params":{"subscription":1},"id":2}\n',
    b'{"jsonrpc":"2.0","method":"tail","params":{"from_id":1,"follow":false},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"peers","params":{"session":"s"},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"register","params":{"role":["a:s","b:s"]},"id":2}\n'
    b'{"jsonrpc":"2.0","method":"last_id","id":3}\n',
    b'{"jsonrpc":"2.0","method":"dead","params":{"role":"a:s"},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"requeue","params":{"ids":[1,2]},"id":2}\n'
    b'{"jsonrpc":"2.0","method":"purge_dead","params":{},"id":3}\n',
    b'{"jsonrpc":"2.0","method":"prune","params":{"older_than_s":86400,"dry_run":true},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"forget","params":{"role":"*:gone"},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"stats","params":{"full":false},"id":2}\n',
    b'{"jsonrpc":"2.0","method":"hello","params":{"as":"cook:kitchen"},"id":1}\n'
    b'{"jsonrpc":"2.0","method":"ack","params":{"id":10},"id":2}\n',
)

_MESSAGE = (
    b'{"id":1,"session_id":"s","sender":"boss:s","recipient":"worker:s","recipient_role":"worker",'
    b'"recipient_session":"s","to":"worker:s","type":"job","body":{"n":1},"state":"sent","status":"sent",'
    b'"urgency":"prompt","tags":[],"correlation_id":"c-1","reply_to":null,"task_id":null,"dedup_key":null,'
    b'"attempts":0,"created_at":"2026-11-23T06:53:53.011177Z","delivered_at":null,"acked_at":null,'
    b'"expires_at":null,"finished_at":null,"reply_address":null,"report":null,"reason":null,'
    b'"waiting":{"worker:s":false},"duplicate":false}'
)

# Lines that a server writes, and lines that a malicious one may write.
ANSWERS = (
    b'{"jsonrpc":"2.0","result":' + _MESSAGE + b',"id":1}\n',
    b'{"jsonrpc":"2.0","result":{"messages":[' + _MESSAGE + b']},"id":1}\n',
    b'{"jsonrpc":"2.0","method":"message","params":{"subscription":1,"message":' + _MESSAGE + b"}}\n",
    b'{"jsonrpc":"2.0","method":"end","params":{"subscription":1,"reason":"error","error":{"code":-32011,'
    b'"message":"busy","data":{"kind":"busy","retryable":true}}}}\n',
    b'{"jsonrpc":"2.0","error":{"code":-32003,"message":"no","data":{"kind":"schema_validation","retryable":false,'
    b'"fields":{"a.b":"is missing"},"reason":"why"}},"id":1}\n',
    b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}\n',
    b'{"jsonrpc":"2.0","result":{"receipts":[{"message_id":1,"recipient":"a:s","state":"acked","attempts":1,'
    b'"delivered_at":"2026-11-23T06:53:53.011177Z","finished_at":null,"ready_at":null,"leased":false,'
    b'"reason":null}]},"id":1}\n',
    b'{"jsonrpc":"2.0","result":{"peers":[{"address":"a:s","role":"a","session":"s","waiting":0,"pending":1,'
    b'"registered_at":"2026-11-23T06:53:53.011177Z","last_seen":"2026-11-23T06:53:53.011177Z"}]},"id":1}\n',
    b'{"jsonrpc":"2.0","result":{"as":"a:s","bound":["a:s"],"version":"0.3.0"},"id":1}\n',
    b'{"jsonrpc":"2.0","result":{"id":7,"recipients":["a:s"],"requeued":1,"purged":1,"messages":1,"bytes":0,'
    b'"nacked":1,"state":"sent","subscription":1,"results":[1]},"id":1}\n',
    b'{"id":1}\n[1]\n7\nnull\n',
)

# Edge cases of JSON, UTF-8, numbers and addresses, and the protocol's own words.
WORDS = (
    b'"jsonrpc":"2.0"', b'"method":', b'"params":', b'"id":', b'"error":', b'"result":', b'"role":', b'"from":',
    b'"to":', b'"type":', b'"body":', b'"timeout_s":0.001', b'"lease":', b'"ack":"prefetch"', b'"calls":',
    b'"messages":',
    b"true", b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"9223372036854775808", b"1" * 50, b'"a:s"', b'"*:*"',
    b'":"', b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\r", b"\n", b"[", b"]",
    b"{", b"}", b",", b":", b'"', b"\\", b"[" * 120, b"]" * 120, b"[[]]", b"{}", b'{"":0}', b"GET / HTTP/1.1\r\n",
)  # fmt: skip
