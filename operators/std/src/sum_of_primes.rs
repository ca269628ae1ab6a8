//! `SumOfPrimes`.

use marionette_sdk::{Host, Item, OperatorError, Request};

use crate::range::Range;

/// Odd numbers that are looked at together: they fit into a cache.
const SEGMENT: usize = 1 << 17;

/// Sums the primes in each range that the stage before returned, both ends included; without items, in that of the input.
pub fn sum_of_primes(request: &Request, _host: &mut dyn Host) -> Result<Vec<Item>, OperatorError> {
    let sum = |text: &str| Ok(Item::from(sum(Range::parse(text)?)?.to_string()));
    if request.items.is_empty() {
        return Ok(vec![sum(&request.input)?]);
    }
    request.items.iter().map(|item| sum(item.text()?)).collect()
}

/// A segmented sieve of Eratosthenes over the odd numbers.
fn sum(range: Range) -> Result<u64, OperatorError> {
    let too_large = || {
        OperatorError::InvalidRequest(format!(
            "the sum of the primes in {range} has more than 64 bits"
        ))
    };
    let mut sum: u64 = if range.first <= 2 && range.last >= 2 {
        2
    } else {
        0
    };
    let divisors = odd_primes_to(range.last.isqrt());
    let mut is_composite = vec![false; SEGMENT];
    let mut first = range.first.max(3) | 1;
    while first <= range.last {
        let numbers = ((range.last - first) / 2 + 1).min(SEGMENT as u64);
        let last = first + 2 * (numbers - 1);
        is_composite.fill(false);
        for &divisor in divisors
            .iter()
            .take_while(|divisor| *divisor * *divisor <= last)
        {
            let from = (divisor * divisor).max(first.next_multiple_of(divisor));
            // The first odd multiple.
            let from = from + if from % 2 == 0 { divisor } else { 0 };
            let places = (from.saturating_sub(first) / 2..numbers).step_by(divisor as usize);
            for place in places {
                is_composite[place as usize] = true;
            }
        }
        for (place, is_composite) in (0..numbers).zip(&is_composite) {
            if !is_composite {
                sum = sum.checked_add(first + 2 * place).ok_or_else(too_large)?;
            }
        }
        first = last + 2;
    }
    Ok(sum)
}

fn odd_primes_to(last: u64) -> Vec<u64> {
    let mut is_composite = vec![false; last as usize + 1];
    let mut primes = Vec::new();
    for number in (3..=last).step_by(2) {
        if is_composite[number as usize] {
            continue;
        }
        primes.push(number);
        for multiple in (number * number..=last).step_by(2 * number as usize) {
            is_composite[multiple as usize] = true;
        }
    }
    primes
}
