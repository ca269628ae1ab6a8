//! Which records the clients of a measurement touch.

/// One client's choice among the records held. Equal settings give equal choices.
#[derive(Debug, Clone)]
pub struct Keys {
    /// All records: those from 0 to this.
    records: u64,
    /// The first of its own records, how many there are, and how far they are apart.
    first: u64,
    own: u64,
    stride: u64,
    turn: u64,
}

/// The step of `SplitMix64`.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Keys {
    /// For all clients of a measurement: each owns records that no other updates, spread over all that are held. At
    /// least `own` × `clients` records are needed.
    pub fn for_clients(records: u64, clients: u64, own: u64) -> Vec<Self> {
        let apart = (records / (clients * own).max(1)).max(1);
        let keys = |client| Self {
            records,
            first: client * apart,
            own,
            stride: clients * apart,
            turn: client,
        };
        (0..clients).map(keys).collect()
    }

    /// All clients own the same one.
    pub fn of_one_record(clients: u64) -> Vec<Self> {
        let keys = |_| Self {
            records: 1,
            first: 0,
            own: 1,
            stride: 1,
            turn: 0,
        };
        (0..clients).map(keys).collect()
    }

    pub fn name(record: u64) -> String {
        format!("record{record:07}")
    }

    /// Any record held, in no order (`SplitMix64`, Steele, Lea and Flood 2014).
    pub fn next_any(&mut self) -> String {
        self.turn = self.turn.wrapping_add(GAMMA);
        let mut mixed = self.turn;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self::name((mixed ^ (mixed >> 31)) % self.records.max(1))
    }

    pub fn own_count(&self) -> usize {
        self.own as usize
    }

    /// The one of its own keys whose turn it is, and its place among them. They are spread over all records held.
    pub fn own(&self) -> (usize, String) {
        let place = self.turn % self.own.max(1);
        (place as usize, Self::name(self.own_record(place)))
    }

    pub fn turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    fn own_record(&self, place: u64) -> u64 {
        self.first + place * self.stride
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_clients_own_the_same_record() {
        let keys = Keys::for_clients(5_000, 64, 32);
        let owned: Vec<u64> = keys
            .iter()
            .flat_map(|keys| (0..32).map(|place| keys.own_record(place)))
            .collect();
        assert_eq!(owned.iter().collect::<BTreeSet<_>>().len(), 64 * 32);
        assert!(owned.iter().all(|record| *record < 5_000));
    }

    #[test]
    fn any_means_most_of_the_records() {
        let mut keys = Keys::for_clients(1_000, 1, 1).pop().unwrap();
        let visited: BTreeSet<String> = (0..10_000).map(|_| keys.next_any()).collect();
        assert!(visited.len() > 900, "{}", visited.len());
    }
}
