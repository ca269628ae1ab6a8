# Best case: equal operators on all workers, no shared record, no delay. The scheduler deals the runs out evenly.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0
worker w3 http://localhost:4003 0

await ready
client a count.app
client b count.app
client c count.app
client d count.app
client e count.app
client f count.app
await runs

expect a 1
expect b 1
expect c 1
expect d 1
expect e 1
expect f 1
