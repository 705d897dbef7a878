//! The samples of one record as bytes.
//!
//! A row per sample would cost four times the room: the row has its own key and
//! header, and most samples are small numbers of few series. So a record is one
//! row with a blob: for each series in ascending order the step from the number
//! of the series before it, with a tag in the low bits, and the value. Values
//! are absolute, so that a record that was lost makes no later one wrong.

use std::collections::BTreeMap;

/// What a tag says: a whole number follows as a varint, eight bytes of a float, or nothing since the series is gone.
const WHOLE: u64 = 0;
const RATIO: u64 = 1;
const GONE: u64 = 2;
/// Bits of a tag.
const TAG_BITS: u32 = 2;
/// Bytes of the longest varint.
const VARINT_MAX: usize = 10;

/// The value of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A count, or a state that is a whole number.
    Whole(u64),
    /// A ratio, or a sum of times.
    Ratio(f64),
}

impl Figure {
    /// Returns it as a number.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of years are far below 2^52")]
    pub const fn number(self) -> f64 {
        match self {
            Self::Whole(count) => count as f64,
            Self::Ratio(ratio) => ratio,
        }
    }
}

/// A record that does not decode: damage that `SQLite` did not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is damaged")]
pub struct BadRecord;

/// The samples of one moment, by the number of their series.
pub type Samples = BTreeMap<u32, Figure>;

/// Returns what `current` changes about `previous`; all of it if that is empty.
#[must_use]
pub fn encode(previous: &Samples, current: &Samples) -> Vec<u8> {
    let mut changes: BTreeMap<u32, Option<Figure>> = current
        .iter()
        .filter(|(series, value)| previous.get(series) != Some(value))
        .map(|(series, value)| (*series, Some(*value)))
        .collect();
    changes.extend(previous.keys().filter(|series| !current.contains_key(series)).map(|gone| (*gone, None)));
    let (mut bytes, mut last) = (Vec::new(), 0);
    for (series, change) in changes {
        let step = u64::from(series - last) << TAG_BITS;
        last = series;
        match change {
            Some(Figure::Whole(number)) => {
                varint(&mut bytes, step | WHOLE);
                varint(&mut bytes, number);
            }
            Some(Figure::Ratio(ratio)) => {
                varint(&mut bytes, step | RATIO);
                bytes.extend(ratio.to_le_bytes());
            }
            None => varint(&mut bytes, step | GONE),
        }
    }
    bytes
}

/// Calls `take` for every sample in a record; without a value for a series that is gone.
///
/// # Errors
///
/// When the bytes are no record.
pub fn decode(mut bytes: &[u8], mut take: impl FnMut(u32, Option<Figure>)) -> Result<(), BadRecord> {
    let mut series = 0_u32;
    while !bytes.is_empty() {
        let head = read_varint(&mut bytes)?;
        let step = u32::try_from(head >> TAG_BITS).map_err(|_| BadRecord)?;
        series = series.checked_add(step).ok_or(BadRecord)?;
        let value = match head & ((1 << TAG_BITS) - 1) {
            WHOLE => Some(Figure::Whole(read_varint(&mut bytes)?)),
            RATIO => {
                let (ratio, rest) = bytes.split_first_chunk().ok_or(BadRecord)?;
                bytes = rest;
                Some(Figure::Ratio(f64::from_le_bytes(*ratio)))
            }
            GONE => None,
            _ => return Err(BadRecord),
        };
        take(series, value);
    }
    Ok(())
}

/// Adds a number, seven bits to a byte, the lowest first.
fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, BadRecord> {
    let mut number = 0;
    for position in 0..VARINT_MAX {
        let (byte, rest) = bytes.split_first().ok_or(BadRecord)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadRecord)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> impl Strategy<Value = Samples> {
        let value = prop_oneof![any::<u64>().prop_map(Figure::Whole), (-1e9..1e9).prop_map(Figure::Ratio)];
        prop::collection::btree_map(any::<u32>(), value, 0..50)
    }

    proptest! {
        /// Whatever was and is, what was with the changes is what is.
        #[test]
        fn changes_lead_from_one_record_to_the_next(before in samples(), now in samples()) {
            let mut read = before.clone();
            let take = |series, value| {
                match value {
                    Some(value) => read.insert(series, value),
                    None => read.remove(&series),
                };
            };
            prop_assert_eq!(decode(&encode(&before, &now), take), Ok(()));
            prop_assert_eq!(read, now);
        }

        /// Bytes of whatever kind are read or refused, and nothing else happens.
        #[test]
        fn damage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = decode(&bytes, |_, _| {});
        }
    }

    /// What did not change costs nothing, and a small counter two bytes.
    #[test]
    fn a_record_holds_what_changed() {
        let before = Samples::from([(7, Figure::Whole(100)), (8, Figure::Ratio(0.5))]);
        assert!(encode(&before, &before).is_empty());
        let now = Samples::from([(7, Figure::Whole(101)), (8, Figure::Ratio(0.5))]);
        assert_eq!(encode(&before, &now).len(), 2);
    }
}
