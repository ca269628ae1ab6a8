operator SplitRange 0 chunk=5000000
map SumOfPrimes 1
operator Sum 2
