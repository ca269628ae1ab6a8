operator Undefined 0 timeout=10s
