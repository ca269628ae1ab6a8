operator Fills 0 timeout=10s
