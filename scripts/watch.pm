# Records that begin alike are scanned in key order, and watched: the watch goes on while nodes crash and return, and
# tells each change once, those of one record in their order.

storage s1 http://localhost:3000 0
storage s2 http://localhost:3001 0
storage s3 http://localhost:3002 0

write user/1 ada at s1
watch user/
write user/2 bob at s2
write user/3 eve at s3
write group/1 staff at s1
updateIf user/3 eve mallory
scan user/
scan limit=2

echo "Whichever node the watch asks about a record, one by one they are gone for a while."
crash s1
write user/1 ada2 at s2
write user/2 bob2 at s3
wait 1000   # what is superseded before the watch has found another node is not told
start s1
await converged
crash s2
write user/1 ada3 at s3
write user/2 bob3 at s1
wait 1000
start s2
await converged
crash s3
write user/1 ada4 at s1
write user/4 dan at s2
scan user/
