# A copy of all records in a file, and a cluster that has lost them all.

storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0

write colour red at s1
updateIf colour red green
updateIf colour green blue
write note kept at s1
backup records.bak
write colour white      # not in the copy

crash s1
crash s2
start s1
start s2
expect colour - at s1   # without --data, records die with their processes
expect note - at s2

restore records.bak
await converged
expect colour blue at s2
listGlobal
updateIf colour blue black
expect-fail restore records.bak     # `colour` is not what the copy holds any more
expect colour black
