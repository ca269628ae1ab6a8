operator SplitWords 0 timeout=30s     # Rust
operator CountWords 1 timeout=30s     # JavaScript
operator RankWords 2 timeout=30s      # Python
operator ReportWords 3 timeout=30s    # C
