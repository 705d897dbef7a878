//! Constants that the daemon sets before loading: each object has its own (`globals.rs`).

/// Reads a constant that the loader may have overridden; 0 until then.
#[macro_export]
macro_rules! global {
    ($(#[$doc:meta])* $name:ident, $symbol:ident: $type:ty) => {
        // A section of their own: the compiler merges equal constants, and would
        // let a literal 0 elsewhere share the address of one of these.
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".rodata.globals")]
        static $symbol: $type = 0;

        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> $type {
            // SAFETY: a static of this module; volatile, since the loader
            // replaces what the compiler believes to be 0.
            unsafe { core::ptr::read_volatile(&raw const $symbol) }
        }
    };
}
