# Failure tolerance: of five storage nodes four crash, one after another; every run completes.
set replication 5
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
storage s4 http://localhost:3003 0
storage s5 http://localhost:3004 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

populate records.data

# An operator's write is answered when one replica has it: gossip takes it to the others, which `await converged`
# waits for. Without that a crash may take the newest write along.
run visits count.app
await converged
crash s1

run visits count.app
await converged
crash s3

run visits count.app
await converged
crash s2

run 13 add_and_chain.app
await converged
crash s5

run 23 add_and_chain.app
run visits count.app
expect 13 success
expect 23 success
expect visits 4
listGlobal
