operator SplitRange 0 chunk=1
map SumOfPrimes 1
operator Sum 2
