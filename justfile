# Names for the tasks; what they do is in xtask, where it is typed and tested.

build:
    cargo xtask build

test *ARGS:
    cargo xtask test {{ARGS}}

run *ARGS:
    cargo xtask run {{ARGS}}

bench *ARGS:
    cargo xtask bench {{ARGS}}

replay INCIDENT:
    cargo xtask replay {{INCIDENT}}

lint:
    cargo xtask lint

fmt:
    cargo fmt --all

deny:
    cargo deny check
