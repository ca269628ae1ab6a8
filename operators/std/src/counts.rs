//! How often each word was seen.
//!
//! The hash table is our own, since counting is all that `WordCount` does: the standard library's is safe from words that were
//! chosen to collide, and slow. Here such words cost their own task its time, which is bounded.

use marionette_sdk::{Item, OperatorError};

/// The bound of an item's key.
pub const WORD_BYTES_MAX: usize = 1024;
/// Different words and their bytes: as many as fit into an operator's memory, and into what it may return.
const WORDS_MAX: usize = 300_000;
const TEXT_BYTES_MAX: usize = 8 << 20;
/// At the start; as any later number of slots, a power of two.
const SLOTS: usize = 1 << 12;
/// The golden ratio's bits: odd, and without a pattern.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Words with their counts: a hash table with open addressing, never more than three quarters full.
pub struct Counts {
    slots: Vec<Slot>,
    words: usize,
    text: Vec<u8>,
}

/// A word's place in the text, and its first eight bytes, which tell most words apart. Empty: its length is 0.
#[derive(Clone, Copy, Default)]
struct Slot {
    head: u64,
    count: u64,
    start: u32,
    length: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS],
            words: 0,
            text: Vec::new(),
        }
    }
}

impl Counts {
    /// Counts a word, which is not empty. `head` has its first eight bytes, the first one lowest, and 0 for those that it
    /// does not have.
    #[inline]
    pub fn add(&mut self, head: u64, word: &[u8]) -> Result<(), OperatorError> {
        let mask = self.slots.len() - 1;
        let mut place = hash(head, word) & mask;
        loop {
            let slot = &mut self.slots[place];
            if slot.head == head && slot.length as usize == word.len() {
                let start = slot.start as usize;
                if word.len() <= 8 || is_same(&self.text[start..start + word.len()], word) {
                    slot.count += 1;
                    return Ok(());
                }
            }
            if slot.length == 0 {
                return self.insert(place, head, word);
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, place: usize, head: u64, word: &[u8]) -> Result<(), OperatorError> {
        if key(word).len() > WORD_BYTES_MAX {
            return Err(long_word(word));
        }
        if self.words == WORDS_MAX || self.text.len() + word.len() > TEXT_BYTES_MAX {
            return Err(many_words());
        }
        self.slots[place] = Slot {
            head,
            count: 1,
            start: self.text.len() as u32,
            length: word.len() as u32,
        };
        self.text.extend_from_slice(word);
        self.words += 1;
        if self.words * 4 > self.slots.len() * 3 {
            self.grow();
        }
        Ok(())
    }

    fn grow(&mut self) {
        let slots = vec![Slot::default(); self.slots.len() * 2];
        let mask = slots.len() - 1;
        for slot in std::mem::replace(&mut self.slots, slots) {
            if slot.length > 0 {
                let mut place = hash(slot.head, word(&self.text, slot)) & mask;
                while self.slots[place].length > 0 {
                    place = (place + 1) & mask;
                }
                self.slots[place] = slot;
            }
        }
    }

    /// One item for each word: the word, and its count as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.words);
        let slots = self.slots.iter().filter(|slot| slot.length > 0);
        items.extend(slots.map(|slot| Item {
            key: Some(key(word(&self.text, *slot))),
            value: slot.count.to_string().into_bytes(),
        }));
        items
    }
}

fn long_word(word: &[u8]) -> OperatorError {
    let beginning = key(&word[..word.len().min(32)]);
    OperatorError::InvalidRequest(format!(
        "the word that begins with {beginning:?} has more than {WORD_BYTES_MAX} bytes: this is no text"
    ))
}

fn many_words() -> OperatorError {
    OperatorError::InvalidRequest(format!(
        "there are more than {WORDS_MAX} different words, or 8 MiB of them: take smaller chunks, and fewer of them for \
         one task"
    ))
}

fn word(text: &[u8], slot: Slot) -> &[u8] {
    let start = slot.start as usize;
    &text[start..start + slot.length as usize]
}

fn key(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// Whether two words of equal length, above eight, with equal heads are the same. Most have at most sixteen bytes, the last
/// eight of which are then all that is left: a comparison of slices is a call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let middle = 8..one.len() - 8;
    one.last_chunk::<8>() == other.last_chunk()
        && (one.len() <= 16 || one[middle.clone()] == other[middle])
}

#[inline]
fn hash(head: u64, word: &[u8]) -> usize {
    let mut hash = head.wrapping_mul(FACTOR);
    let mut add = |block: &[u8; 8]| {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*block)).wrapping_mul(FACTOR);
    };
    if let Some((_, rest)) = word.split_first_chunk::<8>() {
        let (blocks, _) = rest.as_chunks();
        blocks.iter().for_each(&mut add);
        // Whatever is left, and maybe more.
        if let (false, Some(last)) = (rest.is_empty(), word.last_chunk()) {
            add(last);
        }
    }
    // The upper bits of a product depend on all bits of its factors.
    (hash >> 32) as usize
}
