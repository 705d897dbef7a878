//! The prefixes of a policy as the packet path looks them up: pages of ranges beside it, and in it where they are.

use aya::maps::{Array, MapData};
use limiter_common::{
    policy::Policy,
    ranges::{ANY_LENGTH, RangePage},
};

use super::tables::{capacity, failed};
use crate::{
    dataplane::DataplaneError,
    policy::{CompiledPrefix, Ranges},
};

/// Makes pages of the ranges that these prefixes make, and says in the policy where they are; `made_at_ns` is when.
///
/// # Errors
///
/// When there is no memory for them.
pub fn make(
    ranges: &Ranges,
    prefixes: &[CompiledPrefix],
    made_at_ns: u64,
    policy: &mut Policy,
) -> Result<Array<MapData, RangePage>, DataplaneError> {
    let mut pages = Array::<_, RangePage>::create(capacity(ranges.page_count()), ANY_LENGTH)
        .map_err(failed("RANGES", "making an array"))?;
    for (n, page) in (0..).zip(ranges.pages()) {
        let page = page.map_err(|error| DataplaneError::Map {
            map: "RANGES",
            operation: "making a page",
            source: error.into(),
        })?;
        pages.set(n, *page, 0).map_err(failed("RANGES", "writing a page"))?;
    }
    ranges.note_in(&mut policy.ranges);
    policy.index(made_at_ns, prefixes.iter().map(|prefix| (prefix.addr, prefix.prefix_len)));
    Ok(pages)
}
