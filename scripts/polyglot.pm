# One application in four languages: the words of a text are split in Rust, counted in JavaScript, ranked in Python and
# reported in C. What one stage returns or writes, the next one gets, on whichever worker it runs.
# `scripts/build-examples` makes the components; their sources are in operators/polyglot.

set timeout 120000      # CPython is compiled when a worker first sees it
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

deploy operators/polyglot/rust/words.wasm
deploy operators/polyglot/javascript/count.wasm
deploy operators/polyglot/python/rank.wasm
deploy operators/polyglot/c/report.wasm
operators

client "The quick brown fox jumps over the lazy dog, and the dog sleeps." polyglot.app
client "A rose is a rose is a rose." polyglot.app
expect-run 1 "13 words, the 3, dog 2, and 1"
expect-run 2 "8 words, a 3, rose 3, is 2"
