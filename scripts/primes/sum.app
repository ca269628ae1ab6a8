operator SplitRange 0
map SumOfPrimes 1
operator Sum 2
