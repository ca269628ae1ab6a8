# Two workers and three storage nodes; a chain of two operators over replicated data; a crash that nobody notices.
# Every line is a command: `marionette run scripts/quickstart.pm`, or type them into `marionette repl`.

scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

populate quickstart.data          # 13,1  14,one_ahead_of_13  23,11  24,one_ahead_of_23

echo "AddOperator adds one to a record; UpdateAndChainOperator then swaps it for `success`, once."
run 13 quickstart.app
expect 13 success

echo "A storage node dies; the next run completes on the two that are left."
crash s2
run 23 quickstart.app
expect 23 success

await converged
listGlobal
