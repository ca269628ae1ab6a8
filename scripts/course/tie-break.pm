# Concurrent writes on several replicas: all settle on the highest number, and on a tie on the lowest replica id.
# Gossip takes 500 ms, so each replica accepts its write before it hears of the others'.
set durability one
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 500
storage s2 http://localhost:3001 500
storage s3 http://localhost:3002 500
worker w1 http://localhost:4001 0

# One write each: all three are number 1, and s1 has the lowest replica id.
write colour blue at s3
write colour green at s2
write colour red at s1
expect colour blue at s3
expect colour green at s2
expect colour red at s1

# Two writes on s3: number 2 beats number 1, whatever the replica id.
write shape square at s1
write shape circle at s3
write shape triangle at s3

await converged 20000
expect colour red at s1
expect colour red at s2
expect colour red at s3
expect shape triangle at s1
expect shape triangle at s2
expect shape triangle at s3
history colour
history shape
