operator CounterOperator 0
operator CounterOperator 1
operator CounterOperator 2
