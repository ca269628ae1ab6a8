# Baseline against one storage node: the same work and the same results as baseline.pm, without replication.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

populate records.data
run 13 add_and_chain.app
run 23 add_and_chain.app
repeat 10 run visits count.app

expect 13 success
expect 23 success
expect visits 10
