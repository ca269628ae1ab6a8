# Histories of storage operations, as anybody may write them: history/README.md says how. No cluster is needed.
check check/good.jsonl
check check/good-by-somebody-else.jsonl

# The second read of a run is older than its first.
expect-fail check check/bad-stale-read-in-session.jsonl

# Two updates that both replaced one version; what is shown is the part that it takes.
expect-fail check check/bad-two-successes.jsonl
