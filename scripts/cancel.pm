# A run that would go on for an hour is cancelled: when `cancel` returns, nothing of it starts any more.
# `scripts/build-examples` makes the component.

set timeout 3600000
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
worker w1 http://localhost:4001 0

deploy operators/hostile/hostile.wasm
client x cancel/endless.app
cancel 1
run 41 course/count.app
expect-fail cancel 2      # it has ended
