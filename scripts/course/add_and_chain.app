operator AddOperator 0
operator UpdateAndChainOperator 1
