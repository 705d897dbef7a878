//! Waiting for a condition, with a deadline and a message.
//!
//! The only place of the suites where a thread sleeps: everything else waits
//! for something that can be seen.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Waits until `probe` returns something and hands it out, or `None` at the deadline.
///
/// The condition is looked at once more after the deadline, so a slow machine
/// gets the answer that is there.
pub fn until_some<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let late = Instant::now() >= end;
        if let Some(value) = probe() {
            return Some(value);
        }
        if late {
            return None;
        }
        // bounded wait: the deadline above ends it.
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds and returns how long that took.
///
/// Panics at the deadline, naming `what` was waited for.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    let met = until_some(deadline, || condition().then_some(()));
    assert!(met.is_some(), "waited {deadline:?} in vain until {what}");
    start.elapsed()
}

/// Waits until `read` returns `wanted` and returns how long that took.
///
/// Panics at the deadline with the last value seen.
#[track_caller]
pub fn until_eq<T: PartialEq + Debug>(
    what: &str,
    wanted: &T,
    deadline: Duration,
    mut read: impl FnMut() -> T,
) -> Duration {
    let start = Instant::now();
    let mut last = read();
    let met = until_some(deadline, || {
        last = read();
        (last == *wanted).then_some(())
    });
    assert!(met.is_some(), "waited {deadline:?} in vain until {what} is {wanted:?}; it is {last:?}");
    start.elapsed()
}

/// Checks that `condition` holds during the whole of `span`, at every look.
#[track_caller]
pub fn holds_for(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let broken = until_some(span, || (!condition()).then_some(()));
    assert!(broken.is_none(), "{what} held for less than {span:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A condition that holds at once costs no wait; one that never does ends at the deadline.
    #[test]
    fn ends_at_the_condition_or_at_the_deadline() {
        assert_eq!(until_some(Duration::from_mins(1), || Some(1)), Some(1));
        assert_eq!(until_some(Duration::ZERO, || None::<u8>), None);
        let mut looks = 0;
        until("three looks", Duration::from_mins(1), || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }
}
