//! The bytes of segments and frames; the layout is in [`crate::disk`].

/// Version of the layout; a change of it makes older files unreadable, and says so.
pub const VERSION: u32 = 2;
pub const SEGMENT_HEADER_BYTES: usize = 24;
pub const FRAME_HEADER_BYTES: usize = 36;
/// Bytes of a frame's payload, at most. Recovery keeps one segment in memory, and a segment holds at least one frame.
pub const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"MRNT-LOG";
const FRAME_MAGIC: &[u8; 4] = &[0xF5, b'f', b'r', b'm'];
const SUFFIX: &str = ".log";

/// Zero-padded, so that the order of names is the order of sequences.
pub fn segment_name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The first sequence of the segment with this name; none if no segment is called so.
pub fn segment_first(name: &str) -> Option<u64> {
    let first = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (segment_name(first) == name).then_some(first)
}

pub fn encode_segment_header(first: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    bytes.extend_from_slice(SEGMENT_MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The version and the first sequence, if the checksum is right.
pub fn decode_segment_header(bytes: &[u8]) -> Option<(u32, u64)> {
    let bytes = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let (fields, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(fields) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut rest = fields.strip_prefix(SEGMENT_MAGIC)?;
    Some((take_u32(&mut rest)?, take_u64(&mut rest)?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub payload_bytes: u32,
    /// Sequence of its first entry.
    pub first: u64,
    /// The log was synced through this sequence when the frame was written.
    pub synced: u64,
    pub entries: u32,
    pub payload_checksum: u32,
}

/// Where a frame stands. Its checksum covers that: bytes inside a payload that look like a frame (somebody may store a
/// log in a record) are none at another offset or in another segment.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace {
    /// First sequence of the segment.
    pub segment: u64,
    pub offset: u64,
}

impl FrameHeader {
    pub fn encode(&self, place: FramePlace) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES);
        bytes.extend_from_slice(FRAME_MAGIC);
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.synced.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        bytes.extend_from_slice(&self.payload_checksum.to_le_bytes());
        let checksum = header_checksum(&bytes, place);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header that `bytes` begins with, if its checksum is right for this place.
    pub fn decode(bytes: &[u8], place: FramePlace) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        // First, because the search for frames asks at every offset.
        let mut rest = bytes.strip_prefix(FRAME_MAGIC)?;
        let (fields, checksum) = bytes.split_last_chunk::<4>()?;
        if header_checksum(fields, place) != u32::from_le_bytes(*checksum) {
            return None;
        }
        Some(Self {
            payload_bytes: take_u32(&mut rest)?,
            first: take_u64(&mut rest)?,
            synced: take_u64(&mut rest)?,
            entries: take_u32(&mut rest)?,
            payload_checksum: take_u32(&mut rest)?,
        })
    }
}

fn header_checksum(fields: &[u8], place: FramePlace) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.segment.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(fields);
    hasher.finalize()
}

/// The entries of a payload, if it consists of exactly so many.
pub fn split_payload(mut payload: &[u8], entries: u32) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    for _ in 0..entries {
        let bytes = usize::try_from(take_u32(&mut payload)?).ok()?;
        let (entry, rest) = payload.split_at_checked(bytes)?;
        found.push(entry);
        payload = rest;
    }
    payload.is_empty().then_some(found)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*head))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}
