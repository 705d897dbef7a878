//! Small XDP programs, most of which return one action, written out as ELF objects.
//!
//! `Pass` belongs on a client's device: a veth hands frames of `XDP_TX` and redirects to its peer only while the
//! peer has an XDP program of its own. GRO on the peer is not enough: frames
//! are queued but its NAPI is not kicked (`veth_xdp_flush`,
//! `drivers/net/veth.c`). So few instructions need no compiler. Any of them also
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

const DROP: i32 = Action::Drop as i32;
const PASS: i32 = Action::Pass as i32;
/// Where the flags of TCP are in a frame of IPv4 without options.
const FLAGS_AT: i16 = 47;
const FLAGS_END: i32 = FLAGS_AT as i32 + 1;

/// A program on a device; gone when dropped.
#[derive(Debug)]
pub struct Attached {
    _program: Ebpf,
}

impl Attached {
    /// Attaches a program that returns `action` to `device` in `namespace`.
    #[must_use]
    pub fn new(namespace: &Namespace, device: &str, action: Action, mode: XdpMode) -> Self {
        Self::of(namespace, device, &object(SECTION, action as u8), mode)
    }

    /// Attaches a program that drops resets over IPv4 and passes all other frames.
    #[must_use]
    pub fn without_resets(namespace: &Namespace, device: &str) -> Self {
        let code = [
            instruction(0x61, 2, 1, 0, 0),         // r2 = data
            instruction(0x61, 3, 1, 4, 0),         // r3 = data_end
            instruction(0xb7, 0, 0, 0, PASS),      // r0 = XDP_PASS
            instruction(0xbf, 4, 2, 0, 0),         // r4 = r2
            instruction(0x07, 4, 0, 0, FLAGS_END), // r4 += as far as the flags
            instruction(0x2d, 4, 3, 6, 0),         // if r4 > r3 exit
            instruction(0x71, 4, 2, 14, 0),        // r4 = version and length of the header
            instruction(0x55, 4, 0, 4, 0x45),      // if r4 != IPv4 without options exit
            instruction(0x71, 4, 2, 23, 0),        // r4 = protocol
            instruction(0x55, 4, 0, 2, 6),         // if r4 != TCP exit
            instruction(0x71, 4, 2, FLAGS_AT, 0),  // r4 = flags of TCP
            instruction(0x45, 4, 0, 1, 4),         // if r4 & RST skip 1
            instruction(0x95, 0, 0, 0, 0),         // exit
            instruction(0xb7, 0, 0, 0, DROP),      // r0 = XDP_DROP
            instruction(0x95, 0, 0, 0, 0),         // exit
        ];
        Self::of(namespace, device, &object_of(SECTION, &code.concat()), XdpMode::Driver)
    }

    fn of(namespace: &Namespace, device: &str, object: &[u8], mode: XdpMode) -> Self {
        let mut program = EbpfLoader::new().btf(None).load(object).expect("the object is well-formed");
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
    let code = [
        instruction(0xb7, 0, 0, 0, returned.into()), // r0 = returned
        instruction(0x95, 0, 0, 0, 0),               // exit
    ];
    object_of(section, &code.concat())
}

/// One instruction (`struct bpf_insn`).
pub(crate) fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [code, from << 4 | to, o0, o1, i0, i1, i2, i3]
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
