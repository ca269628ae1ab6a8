# Worst case: the coordinator of an update crashes in the middle of two-phase commit.
# Every message between storage nodes takes 400 ms, so 600 ms after the client the update of record 23 waits for votes
# or commits. s1 coordinates record 23: it is the first of the record's replicas on the ring.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 400
storage s2 http://localhost:3001 400
storage s3 http://localhost:3002 400
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

populate records.data
client 23 add_and_chain.app
wait 600
crash s1

expect-run 1 end
await converged 20000
expect 23 success at s2
expect 23 success at s3

# The two that are left go on.
run 13 add_and_chain.app
expect 13 success
