operator Spins 0 timeout=1s retries=0
