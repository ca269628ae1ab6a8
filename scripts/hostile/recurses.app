operator Recurses 0 timeout=10s retries=0
