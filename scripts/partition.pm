# Five storage nodes, and a network that breaks between them: whoever has a majority in sight goes on with updates, the
# others refuse them and still read and write. Then the network heals, and all five hold the same. Last, a node hangs.

set replication 5
set commit majority
storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0
storage s4 http://localhost:3003 0
storage s5 http://localhost:3004 0

write stock 10 at s1

echo "s1 and s2 are cut off. Three of five can still sell; two cannot, and say so."
partition s1,s2 | s3,s4,s5
updateIf stock 10 9 at s3
expect-fail updateIf stock 10 8 at s1
expect stock 10 at s1

echo "Plain writes need no majority."
set durability one
write note "from the smaller side" at s2

echo "The network heals: the smaller side learns what was sold, the larger one gets the note."
heal
await converged
expect stock 9 at s1
expect note "from the smaller side" at s5
updateIf stock 9 8 at s1

echo "Worse than cut is half cut: s5 hears s1 and is not heard; then it is late, and s4 loses words."
cut s5 s1
updateIf stock 8 7 at s1
heal
delay s5 s1 50
loss s4 s5 30
updateIf stock 7 6 at s1
heal

echo "A node that hangs counts as one that is away."
freeze s4
status
updateIf stock 6 5 at s2
unfreeze s4
await converged
expect stock 5 at s4
listGlobal
