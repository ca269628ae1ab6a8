operator Hoards 0 timeout=10s
