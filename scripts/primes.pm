# The sum of the primes in a range: the range is split, the primes of each part are summed, and the sums added up.

set timeout 300000
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

run "[10, 3700000]" primes/parts.app
run "[10, 3700000]" primes/sum.app
run "[1, 20000000]" primes/sum.app
run "[1, 100000000]" primes/sum.app
expect-fail run "[2, 1]" primes/sum.app
expect-fail run "[1, 1000000]" primes/fine.app     # too many parts
