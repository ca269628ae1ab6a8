//! What names a component: the SHA-256 of its bytes.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::status::Status;

/// The SHA-256 of a component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentHash([u8; 32]);

impl ComponentHash {
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }

    pub fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// The first digits, enough for people to tell components apart.
    pub fn short(self) -> String {
        let mut digits = self.to_string();
        digits.truncate(12);
        digits
    }
}

/// All 64 digits.
impl fmt::Display for ComponentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for ComponentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<&[u8]> for ComponentHash {
    type Error = Status;

    fn try_from(bytes: &[u8]) -> Result<Self, Status> {
        bytes.try_into().map(Self).map_err(|_| {
            Status::invalid(format!(
                "the hash of a component has 32 bytes, not {}",
                bytes.len()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_shown_in_hexadecimal_digits() {
        let hash = ComponentHash::of(b"abc");
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), digits);
        assert_eq!(hash.short(), "ba7816bf8f01");
        assert_eq!(ComponentHash::try_from(&hash.bytes()[..]), Ok(hash));
        assert!(ComponentHash::try_from(&b"abc"[..]).is_err());
    }
}
