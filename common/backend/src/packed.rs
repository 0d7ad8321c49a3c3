//! How bytes are stored: compressed when that helps, with a checksum.

use bytes::Bytes;

/// A stored value is `kind (1 byte), CRC-32 of the original (4, little-endian), data`. New kinds may be added.
const PLAIN: u8 = 0;
/// The data is the length of the original (4, little-endian) and an LZ4 block.
const LZ4: u8 = 1;
const HEADER_BYTES: usize = 5;
/// Below this LZ4 finds little, and a page is written anyway.
const COMPRESSED_BYTES_MIN: usize = 256;
/// LZ4 cannot do better, so a length beyond it is damage and not a reason to allocate.
const LZ4_RATIO_MAX: usize = 255;

/// The stored bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are damaged: {0}")]
pub struct Damaged(&'static str);

/// The stored form of these bytes, made in one piece of memory.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let compressed = compress(bytes, &mut stored);
    if !compressed {
        stored.clear();
        stored.reserve_exact(HEADER_BYTES + bytes.len());
        stored.resize(HEADER_BYTES, 0);
        stored.extend_from_slice(bytes);
    }
    stored[0] = if compressed { LZ4 } else { PLAIN };
    stored[1..HEADER_BYTES].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    stored
}

/// Puts the compressed bytes after room for the header; `false` when that does not make them fewer.
fn compress(bytes: &[u8], stored: &mut Vec<u8>) -> bool {
    let Ok(length) = u32::try_from(bytes.len()) else { return false };
    if bytes.len() < COMPRESSED_BYTES_MIN {
        return false;
    }
    let start = HEADER_BYTES + size_of::<u32>();
    stored.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
    let Ok(block) = lz4_flex::block::compress_into(bytes, &mut stored[start..]) else { return false };
    stored[HEADER_BYTES..start].copy_from_slice(&length.to_le_bytes());
    stored.truncate(start + block);
    stored.len() < HEADER_BYTES + bytes.len()
}

/// The bytes that were packed.
pub fn unpack(stored: &[u8]) -> Result<Bytes, Damaged> {
    let (header, data) = stored.split_at_checked(HEADER_BYTES).ok_or(Damaged("too short"))?;
    let bytes = match header[0] {
        PLAIN => Bytes::copy_from_slice(data),
        LZ4 => decompress(data)?,
        _ => return Err(Damaged("of an unknown kind")),
    };
    if crc32fast::hash(&bytes).to_le_bytes() != header[1..] {
        return Err(Damaged("checksum differs"));
    }
    Ok(bytes)
}

fn decompress(data: &[u8]) -> Result<Bytes, Damaged> {
    let (length, block) = data.split_first_chunk::<4>().ok_or(Damaged("too short"))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damaged("too long"))?;
    if length > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(Damaged("too long"));
    }
    lz4_flex::block::decompress(block, length).map(Bytes::from).map_err(|_| Damaged("not compressed data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_whatever_it_is() {
        let repeated = b"agent ended ".repeat(1000);
        for bytes in [b"".as_slice(), b"x", &[0; 255], &[0; 256], &[7; 1_000_000], &repeated] {
            assert_eq!(unpack(&pack(bytes)).expect("unpacks"), bytes);
        }
        assert!(pack(&repeated).len() < repeated.len() / 10);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bytes in [b"short".repeat(4), b"long and repeated ".repeat(40)] {
            let stored = pack(&bytes);
            for position in 0..stored.len() * 8 {
                let mut torn = stored.clone();
                torn[position / 8] ^= 1 << (position % 8);
                // LZ4 has matches that stand for the same bytes; what unpacks must be the original.
                assert!(unpack(&torn).map_or(true, |read| read == bytes), "bit {position}");
            }
        }
    }

    #[test]
    fn a_torn_value_is_damaged() {
        let stored = pack(&b"agent ended ".repeat(100));
        for length in 0..stored.len() {
            assert!(unpack(&stored[..length]).is_err(), "{length}");
        }
    }
}
