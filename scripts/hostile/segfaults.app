operator Segfaults 0 timeout=10s
