operator SplitText 0 chunk=8388608     # bytes of a part
map WordCount 1
reduce SumByKey 2 partitions=2
operator Collect 3
grant file:///data/words/
