//! The operators that ship with Marionette, embedded in its binary: those of the course, as SCRIPTS.md §4
//! defines them. Each is a plain function in a file of its own; the last lines of this file register them.

mod add;
mod counter;
mod increment;
mod integer;
#[cfg(test)]
mod tests;
mod update_and_chain;

marionette_sdk::operators! {
    "AddOperator" => add::add,
    "CounterOperator" => counter::counter,
    "IncrementOperator" => increment::increment,
    "UpdateAndChainOperator" => update_and_chain::update_and_chain,
}
