# What operators may try, and what becomes of it: each run fails with an error that says what it did, and the ten
# operators of the run beside it do their work, on the same workers.
# `scripts/build-examples` makes the component and the native library; their source is operators/hostile.

set operators operators/hostile/native
set native isolated
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

deploy operators/hostile/hostile.wasm
run before hostile/beside.app

echo "An infinite loop."
client beside-loop hostile/beside.app
expect-fail run x hostile/spins.app

echo "A memory hog."
client beside-hog hostile/beside.app
expect-fail run x hostile/hoards.app

echo "A stack overflow."
client beside-overflow hostile/beside.app
expect-fail run x hostile/recurses.app

echo "A flood of log lines."
client beside-flood hostile/beside.app
expect-fail run x hostile/floods.app

echo "An output of 17 MiB, and one of 1 GiB in WASM and in native code."
client beside-output hostile/beside.app
expect-fail run 17825792 hostile/fills.app
expect-fail run 1073741824 hostile/fills.app
expect-fail run 1073741824 hostile/fills_natively.app

echo "A missing import."
client beside-import hostile/beside.app
expect-fail run x hostile/imports.app

echo "A trap."
client beside-trap hostile/beside.app
expect-fail run x hostile/panics.app

echo "A segmentation fault of native code."
client beside-fault hostile/beside.app
expect-fail run x hostile/segfaults.app

echo "A class that nobody has."
client beside-nothing hostile/beside.app
expect-fail run x hostile/undefined.app

await runs
run before hostile/beside.app
await converged
