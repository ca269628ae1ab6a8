# Only the newest versions of a record are kept; the oldest is discarded.
set max_versions 3
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
worker w1 http://localhost:4001 0

write price 10 at s1
write price 11 at s1
write price 12 at s1
write price 13 at s1
write price 14 at s1
await converged

history price at s1
history price at s2
read price 3.1
expect-fail read price 2.1
expect-fail read price 1.1
expect price 14
