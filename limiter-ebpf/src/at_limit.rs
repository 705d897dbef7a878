//! The marks that say which sources are at their limit: a fingerprint in a bucket.
//!
//! The gate sets a mark, XDP reads it at every ACK, and clears it when it finds
//! that it is no longer true. A mark is a hint: one that is lost or stale costs
//! a look or a second chance at the gate, never a wrong verdict.

use limiter_common::names;

use crate::{atomic, maps};

/// Returns whether any source of a service was ever marked.
#[inline(always)]
pub fn has_marks(service: u32) -> bool {
    atomic::load_u32(marked(service)) != 0
}

/// The mark of one source.
pub struct AtLimit {
    bucket: Option<*mut u32>,
    fingerprint: u32,
}

impl AtLimit {
    /// Returns the mark of the source with this hash.
    #[inline(always)]
    pub fn of(hash: u64) -> Self {
        let (bucket, fingerprint) = names::at_limit_mark(hash);
        Self { bucket: maps::AT_LIMIT.get_ptr_mut(bucket), fingerprint }
    }

    /// Returns whether the source is marked.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.bucket.is_some_and(|bucket| atomic::load_u32(bucket) == self.fingerprint)
    }

    /// Sets the mark of a source of this service.
    #[inline(always)]
    pub fn set(&self, service: u32) {
        self.write(self.fingerprint);
        if !has_marks(service) {
            atomic::store_u32(marked(service), 1);
        }
    }

    /// Clears the mark.
    #[inline(always)]
    pub fn clear(&self) {
        self.write(0);
    }

    #[inline(always)]
    fn write(&self, value: u32) {
        if let Some(bucket) = self.bucket {
            atomic::store_u32(bucket, value);
        }
    }
}

#[inline(always)]
fn marked(service: u32) -> *mut u32 {
    maps::MARKED_SERVICES.at().cast::<u32>().wrapping_add(service as usize & (names::SERVICES - 1))
}
