# Runs at work on the same records while nodes come and go: every run completes, and is counted once.
# For many seeds: marionette simulate scripts/workload.pm --seeds 0..1000 --faults harsh

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
worker w3 http://localhost:4003 0
await ready

set faults mild
repeat 6 client red workload/tally.app
repeat 6 client blue workload/tally.app
wait 1500
repeat 6 client red workload/tally.app
repeat 6 client blue workload/tally.app
wait 1500
repeat 6 client red workload/tally.app
await runs 600000
set faults none

await converged 120000
expect red 36
expect blue 24
updateIf red 36 done
