operator FillsNatively 0 timeout=10s
