//! Mistakes in `[witness]` and `[[upstream]]`.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("[witness]\nsilent_after = \"0s\"\nS;", (2, 16), &["`silent_after` is 0s", "1s to 10m"]),
    ("[witness]\nsilent_after = \"soon\"\nS;", (2, 16), &["`soon` is no duration"]),
    ("[witness]\nenabled = 1\nS;", (2, 11), &["`enabled` is an integer", "true or false"]),
    ("[witness]\noutbound_ports = [0]\nS;", (2, 19), &["0 is no port", "1 to 65535"]),
    ("[witness]\nsilence = \"5s\"\nS;", (2, 1), &["unknown key `silence` in [witness]"]),
    ("S;[[upstream]]\naddresses = [\"192.0.2.5:389\"]", (4, 1), &["an upstream without a name"]),
    ("S;[[upstream]]\nname = \"auth\"", (4, 1), &["upstream `auth` has no addresses", "192.0.2.5:389"]),
    (
        "S;[[upstream]]\nname = \"auth\"\naddresses = [\"ldap.example:389\"]",
        (6, 14),
        &["`ldap.example:389` is no address and port", "names are not looked up"],
    ),
    (
        "S;[[upstream]]\nname = \"auth\"\naddresses = [\"192.0.2.5:1\", \"192.0.2.5:1\"]",
        (6, 29),
        &["192.0.2.5:1 is an upstream already", "each address once"],
    ),
];
