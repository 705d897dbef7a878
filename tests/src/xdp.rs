//! The smallest XDP programs, which return one action, written out as ELF objects.
//!
//! `Pass` belongs on a client's device: a veth hands frames of `XDP_TX` and redirects to its peer only while the
//! peer has an XDP program of its own. GRO on the peer is not enough: frames
//! are queued but its NAPI is not kicked (`veth_xdp_flush`,
//! `drivers/net/veth.c`). Two instructions need no compiler. Any of them also
//! serves as the foreign program that is already there.

use aya::programs::Xdp;
pub use aya::programs::XdpMode;
use aya::{Ebpf, EbpfLoader};

use crate::netns::Namespace;

/// `frags`, so that the program allows any MTU.
const SECTION: &str = "xdp.frags";
/// Under this name the kernel lists the program.
pub const NAME: &str = "one_action";

const HEADER_BYTES: usize = 64;
const SECTION_HEADER_BYTES: u16 = 64;
const EM_BPF: u16 = 247;

/// What a program returns (`enum xdp_action`, `include/uapi/linux/bpf.h`).
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Loses every frame.
    Drop = 1,
    /// Passes every frame on.
    Pass = 2,
    /// Sends every frame back as it is, addresses included.
    Tx = 3,
}

/// A program on a device; gone when dropped.
#[derive(Debug)]
pub struct Attached {
    _program: Ebpf,
}

impl Attached {
    /// Attaches a program that returns `action` to `device` in `namespace`.
    #[must_use]
    pub fn new(namespace: &Namespace, device: &str, action: Action, mode: XdpMode) -> Self {
        let mut program = EbpfLoader::new()
            .btf(None)
            .load(&object(SECTION, action as u8))
            .expect("the object is well-formed");
        let xdp: &mut Xdp = program
            .program_mut(NAME)
            .expect("the object holds the program")
            .try_into()
            .expect("the section says XDP");
        xdp.load().expect("loading an XDP program needs CAP_BPF");
        namespace
            .run(|| xdp.attach(device, mode))
            .unwrap_or_else(|e| panic!("attaching XDP to {device}: {e:?}"));
        Self { _program: program }
    }
}

/// Name and contents; type, link and info; flags and entry size.
type Section<'a> = (&'a str, &'a [u8], [u32; 3], [u64; 2]);

/// The object of a program that returns one value.
pub(crate) fn object(section: &str, returned: u8) -> Vec<u8> {
    // r0 = returned; exit
    object_of(section, &[0xb7, 0, 0, 0, returned, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
}

/// A relocatable object: program, licence, one symbol and their names.
pub(crate) fn object_of(section: &str, code: &[u8]) -> Vec<u8> {
    let names = format!("\0{NAME}\0{section}\0license\0.symtab\0.strtab\0");
    let name = |wanted: &str| {
        let at = names.find(&format!("\0{wanted}\0")).expect("every name is in the table") + 1;
        u32::try_from(at).expect("the table is short")
    };
    let mut symbols = vec![0; 24];
    symbols.extend(name(NAME).to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]); // Global function in section 1.
    symbols.extend([0; 8]);
    symbols.extend((code.len() as u64).to_le_bytes());

    let sections: [Section<'_>; 4] = [
        (section, code, [1, 0, 0], [6, 0]),
        ("license", b"GPL\0", [1, 0, 0], [3, 0]),
        (".symtab", &symbols, [2, 4, 1], [0, 24]),
        (".strtab", names.as_bytes(), [3, 0, 0], [0, 0]),
    ];
    let mut body = Vec::new();
    let mut headers = vec![0; usize::from(SECTION_HEADER_BYTES)];
    for (section, contents, [kind, link, info], [flags, entry_bytes]) in sections {
        headers.extend(name(section).to_le_bytes());
        headers.extend(kind.to_le_bytes());
        let offset = (HEADER_BYTES + body.len()) as u64;
        for field in [flags, 0, offset, contents.len() as u64] {
            headers.extend(field.to_le_bytes());
        }
        headers.extend(link.to_le_bytes());
        headers.extend(info.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(entry_bytes.to_le_bytes());
        body.extend(contents);
        body.resize(body.len().next_multiple_of(8), 0);
    }

    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend(1_u16.to_le_bytes()); // Relocatable.
    elf.extend(EM_BPF.to_le_bytes());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([0; 16]);
    elf.extend(((HEADER_BYTES + body.len()) as u64).to_le_bytes());
    elf.extend([0; 4]);
    for field in [64, 0, 0, SECTION_HEADER_BYTES, 5, 4] {
        elf.extend(field.to_le_bytes());
    }
    elf.extend(body);
    elf.extend(headers);
    elf
}
