operator SplitText 0 chunk=33554432     # bytes of a part
map WordCount 1
reduce SumByKey 2 partitions=8          # enough for a gigabyte with 100,000 different words
operator Collect 3
grant file:///data/words/
