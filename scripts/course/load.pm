# Load: many clients at once.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0
worker w3 http://localhost:4003 0

await ready
repeat 200 client anything increment.app
await runs 60000

# Each run increments the record of its own id.
expect 1 1
expect 77 1
expect 200 1
