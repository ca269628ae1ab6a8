# Load: 300 clients at once. Each run increments the record of its own id; then all of them contend for one record by
# updateIf. Workers hold every forwarded request for 2 s, which is time to kill one of them by hand: all runs complete.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
worker w1 http://localhost:4001 2000
worker w2 http://localhost:4002 2000
worker w3 http://localhost:4003 2000

await ready
repeat 300 client shared load.app
await runs 60000

expect 1 1
expect 77 1
expect 300 1
