//! Capacities of the maps, and the version of everything that is pinned.

/// Version of the layout of pinned maps and of the meaning of their values.
/// A daemon adopts pins only of its own version.
pub const ABI_VERSION: u32 = 7;

/// Sections of the object whose maps the programs address in place: a map's name begins with it, and its
/// pin does not, since file names there have no dots.
pub const IN_PLACE: &str = ".bss.";
/// Which ports are guarded (`map::PortHints`).
pub const PORTS: &str = ".bss.PORTS";
/// Which services have sources at their limit, a word each.
pub const MARKED_SERVICES: &str = ".bss.MARKED_SERVICES";
/// What a recount has found (`map::LivingSums`).
pub const LIVING: &str = ".bss.LIVING";
/// What the daemon says to the programs (`map::Control`).
pub const CONTROL: &str = ".bss.CONTROL";

/// Services, id 0 (no service) included. A choice: a mail host has five to eight.
pub const SERVICES: usize = 16;
/// Classes, built-in ones included. A choice: it keeps the counters under half a MiB a CPU.
pub const CLASSES: usize = 32;
/// Families, in the counters.
pub const FAMILIES: usize = 2;

/// Sources that can be known at once. An entry takes some 150 bytes, only while it exists.
pub const SOURCES: usize = 1 << 20;
/// Buckets of the array that says who is at the limit.
pub const AT_LIMIT_BUCKETS: usize = 1 << 16;
/// Buckets that count known sources. A choice: a byte each, 64 KiB, which a cache holds; sixteen
/// sources in each when all of them are known.
pub const KNOWN_BUCKETS: usize = 1 << 16;
/// Words that these buckets lie in, four to a word.
pub const KNOWN_WORDS: usize = KNOWN_BUCKETS / 4;
/// Refusals that can stand on one CPU at a time. A choice: of 200 sources that flood, 190 have one to themselves.
pub const STANDING_REFUSALS: usize = 1 << 11;
/// Buckets of bounds on what sources hold and owe. A choice: 128 KiB, which a cache holds, and with 10,000
/// open connections one or two in each.
pub const BOUND_BUCKETS: usize = 1 << 13;
/// Classes of addresses that can be noted. A choice: 64 KiB, which a cache holds.
pub const CLASS_NOTES: usize = 1 << 13;
/// Buckets of the SYN quota.
pub const SYN_BUCKETS: usize = 1 << 16;
/// Buckets that remember when a source was last sampled. A choice: 64 KiB, which a cache holds.
pub const SAMPLE_BUCKETS: usize = 1 << 13;
/// Own addresses of the host.
pub const LOCAL_ADDRESSES: usize = 4_096;
/// Buckets of them. A choice: with as many buckets as addresses each of them finds a place (`local.rs`).
pub const LOCAL_BUCKETS: usize = LOCAL_ADDRESSES;
/// Prefixes of one policy, after all rules were merged.
pub const PREFIXES: usize = 1 << 18;
/// Ranges of addresses that these make: each begins one and ends one, and so begins the next.
pub const RANGES: usize = 2 * PREFIXES;
/// Ranges of a page. A choice: a page is 8 KiB, and where all of them begin 32.
pub const RANGES_PER_PAGE: usize = 1 << 8;
/// Pages of ranges.
pub const RANGE_PAGES: usize = RANGES / RANGES_PER_PAGE;
/// Slots for policies: the one in force, and the one that takes its place when nobody confirms it.
pub const POLICY_SLOTS: usize = 2;
/// Slots for ranges: those of both policies, those of the two that replace them, and as many spare
/// for a daemon that takes over in the middle of a switch.
pub const RANGE_SLOTS: usize = 8;
/// Bytes of the ring buffer of samples.
pub const EVENTS_BYTES: usize = 1 << 18;

/// Counter rows: one per (service, class, family).
pub const COUNTER_ROWS: usize = SERVICES * CLASSES * FAMILIES;

/// Returns the counter row of a service, class and family.
#[inline(always)]
#[must_use]
pub const fn counter_row(service: u32, class: u32, family: u32) -> u32 {
    let service = service & (SERVICES as u32 - 1);
    let class = class & (CLASSES as u32 - 1);
    (service * CLASSES as u32 + class) * FAMILIES as u32 + (family & 1)
}

/// Returns the service of a counter row: what [`counter_row`] was asked for.
#[inline(always)]
#[must_use]
pub const fn service_of_row(row: u32) -> u32 {
    (row / (CLASSES * FAMILIES) as u32) & (SERVICES as u32 - 1)
}

/// Returns the word, and the shift within it, of the count of known sources with this hash.
#[inline(always)]
#[must_use]
pub const fn known_bucket(hash: u64) -> (u32, u32) {
    let bucket = (hash >> 40) as u32 & (KNOWN_BUCKETS as u32 - 1);
    (bucket / 4, bucket % 4 * 8)
}

/// Returns the hash that the class of an address in a service is noted by. Not that of a source's key: there
/// the service lies over bits of the address, and two addresses in two services can have the same.
#[inline(always)]
#[must_use]
pub const fn class_hash(hash_of_addr: u64, service: u32) -> u64 {
    hash_of_addr.wrapping_add((service as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Returns the place of the note of the class that an address with this hash has.
#[inline(always)]
#[must_use]
pub const fn class_note(hash: u64) -> u32 {
    (hash >> 40) as u32 & (CLASS_NOTES as u32 - 1)
}

/// Returns the bucket of the bounds on what a source with this hash holds and owes.
#[inline(always)]
#[must_use]
pub const fn bounds_bucket(hash: u64) -> u32 {
    (hash >> 40) as u32 & (BOUND_BUCKETS as u32 - 1)
}

/// Returns the bucket of the mark that a source with this hash is at its limit, and the mark.
#[inline(always)]
#[must_use]
pub const fn at_limit_mark(hash: u64) -> (u32, u32) {
    // An empty bucket holds 0, so no mark may be 0.
    ((hash >> 48) as u32 & (AT_LIMIT_BUCKETS as u32 - 1), hash as u32 | 1)
}

/// Returns the cell of a service and class in the map of open connections by class.
#[inline(always)]
#[must_use]
pub const fn class_cell(service: u32, class: u32) -> u32 {
    (service & (SERVICES as u32 - 1)) * CLASSES as u32 + (class & (CLASSES as u32 - 1))
}

/// Returns service and class of a cell: what [`class_cell`] was asked for.
#[must_use]
pub const fn of_class_cell(cell: u32) -> (u32, u32) {
    (cell / CLASSES as u32 % SERVICES as u32, cell % CLASSES as u32)
}
