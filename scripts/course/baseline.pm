# Baseline: four storage nodes, two workers. Compare with baseline-one-storage.pm.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
storage s4 http://localhost:3003 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

populate records.data
run 13 add_and_chain.app
run 23 add_and_chain.app
repeat 10 run visits count.app

expect 13 success
expect 23 success
expect visits 10
