# Storage nodes are told what their clients may ask of them at most.
set value_bytes_max 8
set record_id_bytes_max 4
set record_updates_max 16
storage s1 http://localhost:3000 0

write 1 12345678
expect-fail write 1 123456789
expect-fail updateIf 1 12345678 123456789
expect-fail write 12345 1
expect 1 12345678
