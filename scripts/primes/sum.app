operator SplitRange 0
operator SumOfPrimes 1
operator Sum 2
