# A chain reads its own writes, on any worker and any replica, although gossip takes 2 s.
# The second and third operator run on other workers, which ask other replicas: the run's pins name the version that
# they must see, so they read 2 and 3 and never an older value.
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 2000
storage s2 http://localhost:3001 2000
storage s3 http://localhost:3002 2000
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0
worker w3 http://localhost:4003 0

run visits count_thrice.app
expect-run 1 3
await converged 30000
expect visits 3 at s1
expect visits 3 at s2
expect visits 3 at s3
