operator LooksAtTheClock 0 timeout=10s
