operator SplitRange 0 chunk=1
operator SumOfPrimes 1
operator Sum 2
