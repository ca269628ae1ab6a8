//! The operators that ship with Marionette, embedded in its binary: those of the course, as SCRIPTS.md §4
//! defines them, and those that work on a large range together. Each is a plain function in a file of its own; the last
//! lines of this file register them.

mod add;
mod counter;
mod increment;
mod integer;
mod range;
mod split_range;
mod sum;
mod sum_of_primes;
#[cfg(test)]
mod tests;
mod update_and_chain;

marionette_sdk::operators! {
    "AddOperator" => add::add,
    "CounterOperator" => counter::counter,
    "IncrementOperator" => increment::increment,
    "SplitRange" => split_range::split_range,
    "Sum" => sum::sum,
    "SumOfPrimes" => sum_of_primes::sum_of_primes,
    "UpdateAndChainOperator" => update_and_chain::update_and_chain,
}
