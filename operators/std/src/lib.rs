//! The operators that ship with Marionette, embedded in its binary: those of the course, as SCRIPTS.md §4
//! defines them, those that work on a large range together, and those that count the words of a large text, and one that counts runs. Each is a
//! plain function in a file of its own; the last lines of this file register them.

mod add;
mod collect;
mod counter;
mod counts;
mod increment;
mod integer;
mod option;
mod range;
mod split_range;
mod split_text;
mod sum;
mod sum_by_key;
mod sum_of_primes;
mod tally;
#[cfg(test)]
mod tests;
mod text_part;
mod update_and_chain;
mod word_count;
mod words;

marionette_sdk::operators! {
    "AddOperator" => add::add,
    "Collect" => collect::collect,
    "CounterOperator" => counter::counter,
    "IncrementOperator" => increment::increment,
    "SplitRange" => split_range::split_range,
    "SplitText" => split_text::split_text,
    "Sum" => sum::sum,
    "SumByKey" => sum_by_key::sum_by_key,
    "SumOfPrimes" => sum_of_primes::sum_of_primes,
    "Tally" => tally::tally,
    "UpdateAndChainOperator" => update_and_chain::update_and_chain,
    "WordCount" => word_count::word_count,
}
