# What it brings to split requests: sums of primes come at a rate, 15 small ones per second, then 5 twice as large. First each
# is one task of one worker, then it is split into tasks for all that have room. A latency counts from when a request was due,
# so that one that waits for those before it shows it. Workers execute one task at a time.

set slots 1
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

run "[1, 20000000]" coordinator-load/whole.app
run "[1, 20000000]" coordinator-load/split.app

echo whole requests on single workers
load 15 5000 "[1, 20000000]" coordinator-load/whole.app
load 5 5000 "[1, 40000000]" coordinator-load/whole.app

echo split requests
load 15 5000 "[1, 20000000]" coordinator-load/split.app
load 5 5000 "[1, 40000000]" coordinator-load/split.app

expect-run 3 12272577818052
expect-run 78 47088408550139
expect-run 103 12272577818052
expect-run 178 47088408550139
