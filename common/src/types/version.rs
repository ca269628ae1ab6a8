//! Version numbers with adjacent numbering (STORAGE.md §2).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::ReplicaId;

/// Names one value of one record for ever.
///
/// Order: the higher number is newer; on a tie the **lower** replica id; then the higher step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Version {
    pub number: u64,
    pub replica: ReplicaId,
    /// Counts the successful updates on top of the plain write `(number, replica, 0)`.
    pub step: u32,
}

impl Version {
    /// The version of a record that does not exist; older than every other.
    pub const NULL: Self = Self {
        number: 0,
        replica: 0,
        step: 0,
    };

    /// A plain write at `replica`, above `highest_number`.
    pub fn write(highest_number: u64, replica: ReplicaId) -> Self {
        Self {
            number: highest_number + 1,
            replica,
            step: 0,
        }
    }

    /// The immediate successor: nothing can ever be placed between the two.
    pub fn successor(self) -> Self {
        Self {
            step: self.step + 1,
            ..self
        }
    }

    pub fn is_null(self) -> bool {
        self == Self::NULL
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number
            .cmp(&other.number)
            .then(other.replica.cmp(&self.replica))
            .then(self.step.cmp(&other.step))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `7.2`, and `7.2+1` with a step.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.replica)?;
        if self.step > 0 {
            write!(f, "+{}", self.step)
        } else {
            Ok(())
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a version: expected NUMBER.REPLICA or NUMBER.REPLICA+STEP, such as 7.2 or 7.2+1"
)]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError(text.to_owned());
        let (number, rest) = text.split_once('.').ok_or_else(wrong)?;
        let (replica, step) = rest.split_once('+').unwrap_or((rest, "0"));
        Ok(Self {
            number: number.parse().map_err(|_| wrong())?,
            replica: replica.parse().map_err(|_| wrong())?,
            step: step.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn order_is_number_then_lower_replica_then_step() {
        let newest_last =
            ["0.0", "1.2", "1.2+1", "1.1", "1.1+1", "1.1+2", "2.3", "2.1"].map(version);
        assert!(newest_last.is_sorted());
        assert!(newest_last.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn wrong_text_is_refused_with_an_example() {
        assert!(
            "7".parse::<Version>()
                .unwrap_err()
                .to_string()
                .contains("such as 7.2")
        );
        assert!("7.x".parse::<Version>().is_err());
    }

    fn any_version() -> impl Strategy<Value = Version> {
        (0..9u64, 0..4u32, 0..4u32).prop_map(|(number, replica, step)| Version {
            number,
            replica,
            step,
        })
    }

    proptest! {
        #[test]
        fn nothing_lies_between_a_version_and_its_successor(a in any_version(), b in any_version()) {
            prop_assert!(!(a < b && b < a.successor()));
        }

        #[test]
        fn display_and_parse_are_inverse(a in any_version()) {
            prop_assert_eq!(a.to_string().parse::<Version>().unwrap(), a);
        }
    }
}
