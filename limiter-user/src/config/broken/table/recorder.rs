//! Mistakes in `[recorder]`.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("[recorder]\nkeep = \"5m\"\nS;", (2, 8), &["`keep` is 5m", "1h to 400d"]),
    ("[recorder]\nkeep = \"for ever\"\nS;", (2, 8), &["`for ever` is no duration"]),
    ("[recorder]\ninterval = \"500ms\"\nS;", (2, 12), &["`interval` is 500ms", "1s to 5m"]),
    ("[recorder]\nsize_max = \"1MiB\"\nS;", (2, 12), &["`size_max` is 1MiB", "16MiB to 64GiB"]),
    ("[recorder]\nsize_max = \"256 MB\"\nS;", (2, 12), &["`256 MB` is no size", "\"256MiB\""]),
    ("[recorder]\nsize_max = \"99999999999999999GiB\"\nS;", (2, 12), &["is no size"]),
    ("[recorder]\nsize_max = 256\nS;", (2, 12), &["`size_max` is an integer", "\"256MiB\""]),
    ("[recorder]\nenabled = \"no\"\nS;", (2, 11), &["`enabled` is a string", "true or false"]),
    ("[recorder]\nsize = \"1GiB\"\nS;", (2, 1), &["unknown key `size` in [recorder]"]),
];
