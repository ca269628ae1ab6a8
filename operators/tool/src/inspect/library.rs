//! The table of a native library (`marionette_sdk::native::Table`), read from the file's bytes: loading the library
//! would run its initialisers.
//!
//! The table is a constant of the library. It begins with a number that is found nowhere else, and its pointer to the
//! fingerprint is a relocation that the loader would apply; its target is where the text stands.

use marionette_sdk::native::{ENTRY_SYMBOL, MAGIC};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

/// Where fields of the table stand, as `repr(C)` lays them out in 64 bits.
const ABI_VERSION_AT: usize = 8;
const FINGERPRINT_AT: usize = 16;
const FINGERPRINT_LENGTH_AT: usize = 24;
/// A longer one is none.
const FINGERPRINT_BYTES_MAX: u64 = 4_096;

/// What the table of a library says.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    pub abi_version: u32,
    /// Compiler, SDK and ABI that built it.
    pub fingerprint: String,
}

/// Finds the table. Errors: why it is no library of operators.
pub fn scan(bytes: &[u8]) -> Result<Library, String> {
    let file = object::File::parse(bytes)
        .map_err(|error| format!("it is no native library of this machine: {error}"))?;
    let registers = |symbol: object::Symbol<'_, '_>| symbol.name() == Ok(ENTRY_SYMBOL);
    if !file.dynamic_symbols().any(registers) {
        return Err(format!(
            "it has no {ENTRY_SYMBOL}: no line of registration in it"
        ));
    }
    let tables = file.sections().filter_map(|section| table(&file, &section));
    tables.into_iter().next().ok_or_else(|| {
        "its table of operators is not found in its bytes: --allow-native asks the library itself".to_owned()
    })
}

fn table(file: &object::File<'_>, section: &object::Section<'_, '_>) -> Option<Library> {
    let data = section.data().ok()?;
    let magic = MAGIC.to_ne_bytes();
    let places = (0..data.len()).step_by(8);
    let mut places = places.filter(|at| data.get(*at..*at + 8) == Some(magic.as_slice()));
    places.find_map(|at| {
        let length = number(data, at + FINGERPRINT_LENGTH_AT)?;
        let pointer_at = section.address() + (at + FINGERPRINT_AT) as u64;
        let (_, relocation) = file
            .dynamic_relocations()?
            .find(|(place, _)| *place == pointer_at)?;
        let fingerprint_at = u64::try_from(relocation.addend()).ok()?;
        let fingerprint = file.segments().find_map(|segment| {
            let found = segment.data_range(fingerprint_at, length.min(FINGERPRINT_BYTES_MAX));
            found.ok().flatten()
        })?;
        let abi_version = number(data, at + ABI_VERSION_AT)?.to_le_bytes();
        Some(Library {
            abi_version: u32::from_ne_bytes(*abi_version.first_chunk()?),
            fingerprint: String::from_utf8_lossy(fingerprint).into_owned(),
        })
    })
}

fn number(data: &[u8], at: usize) -> Option<u64> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}
