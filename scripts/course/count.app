operator CounterOperator 0
