debug
scheduler sc1 http://localhost:4000
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
worker w1 http://localhost:4001 0
worker w2 http://localhost:4002 0
wait 1000
populate records.data
client 23 add_and_chain.app
wait 1000
status
listGlobal

# The course's script ends here; the rest checks what it did.
expect-run 1 end
expect 23 success
expect 13 1
