# How often each word is there: the text is split, the words of each part are counted, the counts of each word come together
# and are summed. A text can be the input itself, or a blob that the application grants.

scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0

run "hello hello hello hello world world world" wordcount.app
expect-run 1 "hello=4, world=3"
expect-fail run file:///etc/passwd wordcount.app     # is not granted
