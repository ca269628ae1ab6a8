operator Panics 0 timeout=10s
