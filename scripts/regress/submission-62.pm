# Found by: marionette simulate scripts/workload.pm --seed 62 --faults harsh
# Again: marionette simulate scripts/regress/submission-62.pm --seed 62 --faults harsh
# A run that was submitted just when the scheduler crashed was given up, though the scheduler came back.
set commit majority
set durability majority
set max_versions 1000
set timeout 600000
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0
await ready
set faults mild
repeat 30 client blue ../workload/tally.app
await runs
