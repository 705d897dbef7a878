//! Values that programs address in place: the loader writes where they are into the instructions, and no
//! look-up is needed. For what every packet asks.
//!
//! Each lies in a section of its own, which the loader makes an array of one element (`maps.rs`).

use core::{cell::UnsafeCell, mem::MaybeUninit};

/// One value, shared with the daemon and all CPUs.
#[repr(transparent)]
pub struct InPlace<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it hands out nothing but a pointer, and whoever follows that reads and writes atomically.
unsafe impl<T> Sync for InPlace<T> {}

impl<T> InPlace<T> {
    /// Returns zeroes, which is how the kernel makes it.
    #[must_use]
    pub const fn zeroed() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// Returns where it is.
    #[inline(always)]
    pub const fn at(&self) -> *mut T {
        self.0.get().cast()
    }
}
