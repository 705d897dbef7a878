//! Records of one size, as iterators write them: read a piece at a time, so that
//! what is read lies in memory once, and as large as it is.

use std::io;

use zerocopy::FromBytes;

/// Bytes that are read at a time: what an iterator has ready, and more than any record.
const PIECE: usize = 1 << 16;

/// Reads records to the end; the second number is of bytes left over, which are no whole record.
///
/// An iterator that passed a million elements without a word asks to be asked again (`bpf_seq_read`).
pub(crate) fn read<T: FromBytes>(mut from: impl io::Read) -> io::Result<(Vec<T>, usize)> {
    let mut records: Vec<T> = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut filled = 0;
    loop {
        filled += match from.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(more) => more,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => 0,
            Err(error) => return Err(error),
        };
        let whole = filled - filled % size_of::<T>();
        let found = piece[..whole].chunks_exact(size_of::<T>());
        if records.capacity() - records.len() < found.len() {
            // By an eighth: twice as much would be memory for nothing.
            records.reserve_exact(found.len() + records.len() / 8);
        }
        records.extend(found.filter_map(|bytes| T::read_from_bytes(bytes).ok()));
        piece.copy_within(whole..filled, 0);
        filled -= whole;
    }
    records.shrink_to_fit();
    Ok((records, filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that come a few at a time, with an interruption between any two.
    struct Slowly<'a> {
        bytes: &'a [u8],
        at_a_time: usize,
        interrupts: bool,
    }

    impl io::Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.interrupts = !self.interrupts;
            if self.interrupts {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = self.at_a_time.min(into.len());
            self.bytes.read(&mut into[..len])
        }
    }

    /// However the bytes come, the records are those that were written, and what is cut off is told.
    #[test]
    fn records_are_whole_however_they_come() {
        let numbers: Vec<u64> = (0..30_000).collect();
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        bytes.extend([7; 3]);
        for at_a_time in [1, 7, 4096, usize::MAX] {
            let slowly = Slowly { bytes: &bytes, at_a_time, interrupts: false };
            assert_eq!(read::<u64>(slowly).unwrap(), (numbers.clone(), 3), "{at_a_time} at a time");
        }
        assert_eq!(read::<u64>(io::empty()).unwrap(), (Vec::new(), 0));
    }
}
