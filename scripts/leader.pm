# Two schedulers: one leads, the other stands by and takes over when it is lost. Runs go on, and none has an effect twice.

set commit majority
scheduler sc1 http://localhost:4000
scheduler sc2 http://localhost:4100
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

run visits leader.app
crash sc1
run visits leader.app
start sc1
crash sc2
repeat 5 run visits leader.app
run visits leader.app
freeze sc1
start sc2
run visits leader.app
unfreeze sc1
run visits leader.app
