//! Mistakes in `[breaker]`.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("[breaker]\nwindow = \"1s\"\nS;", (2, 10), &["`window` is 1s", "5s to 10m"]),
    ("[breaker]\nretry_after = \"2h\"\nS;", (2, 15), &["`retry_after` is 2h", "5s to 1h"]),
    ("[breaker]\nretry_after = \"soon\"\nS;", (2, 15), &["`soon` is no duration"]),
    ("[breaker]\nshare_percent = 100\nS;", (2, 17), &["`share_percent` is 100", "expected 1 to 99"]),
    ("[breaker]\nmin_sources = 1\nS;", (2, 15), &["one loud source", "`critical = true`"]),
    ("[breaker]\nmin_sources = 0\nS;", (2, 15), &["`min_sources` is 0", "expected 2 to"]),
    ("[breaker]\nenabled = \"no\"\nS;", (2, 11), &["`enabled` is a string", "true or false"]),
    ("[breaker]\nsources = 3\nS;", (2, 1), &["unknown key `sources` in [breaker]"]),
];
