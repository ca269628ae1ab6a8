operator SumOfPrimes 0
