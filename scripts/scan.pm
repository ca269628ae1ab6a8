# A scan shows what the nodes that it asks have, and never less than the script has seen: here each node hears of the
# other's writes a second later.

set durability one
storage s1 http://localhost:3000 1000
storage s2 http://localhost:3001 1000

write fruit/apple 1 at s1
write fruit/pear 2 at s2
write root/carrot 3 at s1
write fruit/fig 4 at s2
scan fruit/
scan fruit/ limit=2
