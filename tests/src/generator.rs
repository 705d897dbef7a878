//! SYNs by the million, made in the kernel: what pktgen would do where it is there.
//!
//! An XDP program writes a SYN into every frame that `BPF_PROG_TEST_RUN` hands it
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`) and redirects it to a client's device, from
//! where it arrives at the server's as any other. Source address and port are
//! different in every frame, and both checksums are right: connection tracking
//! looks at them. All of it is the work of one CPU, the receiver's included.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;

use crate::frame::{Frame, Tcp};
use crate::host;
use crate::veth::Client;
use crate::xdp::{NAME, instruction as op, object_of};

/// The CPU that makes the frames and takes them in.
const CPU: usize = 0;
/// Frames between two flushes: as many as a receiver takes in one poll (`NAPI_POLL_WEIGHT`).
const BATCH: u32 = 64;
/// Source ports are these and the 16,383 after them: below what clients of the same address get.
const FIRST_PORT: i32 = 16_384;

/// Where the fields that differ are in the frame: identification, source, source port, and the lower half of the
/// sequence number.
const IP_ID: i16 = 18;
const IP_SOURCE: i16 = 26;
const TCP_SOURCE: i16 = 34;
const TCP_SEQ_LOW: i16 = 40;

/// Helpers (`enum bpf_func_id`, `include/uapi/linux/bpf.h`).
const GET_PRANDOM_U32: i32 = 7;
const REDIRECT: i32 = 23;

/// Addresses that follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    /// The first.
    pub first: Ipv4Addr,
    /// How many there are.
    pub count: u32,
}

/// A program that makes SYNs.
#[derive(Debug)]
pub struct Generator {
    program: Ebpf,
    blank: Vec<u8>,
}

impl Generator {
    /// Prepares SYNs from `sources`, each picked by chance, that a client sends to `server`.
    #[must_use]
    pub fn new(client: &Client, sources: Sources, server: SocketAddrV4) -> Self {
        let device = client.device();
        let index =
            client.namespace.run(|| if_nametoindex(device.as_str())).expect("a client has its device");
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let blank = Frame::tcp(nobody, SocketAddr::V4(server), Tcp::syn().seq(0x1234_0000))
            .between(client.mac(), client.server_mac())
            .id(0)
            .padded()
            .to_bytes();
        let object = object_of("xdp", &code(&blank, sources, index));
        let mut program = EbpfLoader::new().btf(None).load(&object).expect("the object is well-formed");
        let xdp: &mut Xdp = program
            .program_mut(NAME)
            .expect("the object holds the program")
            .try_into()
            .expect("the section says XDP");
        xdp.load().unwrap_or_else(|e| panic!("loading an XDP program needs CAP_BPF: {e:?}"));
        Self { program, blank }
    }

    /// Sends this many SYNs as fast as they go and returns how long that took.
    #[must_use]
    pub fn send(&self, client: &Client, frames: u32) -> Duration {
        let xdp: &Xdp =
            self.program.program(NAME).and_then(|p| p.try_into().ok()).expect("the section says XDP");
        let options = TestRunOptions {
            data_in: Some(&self.blank),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        client.namespace.run(|| {
            host::stay_on(CPU);
            let start = Instant::now();
            xdp.test_run(options).expect("live frames need a kernel of 5.18");
            start.elapsed()
        })
    }
}

/// The program. What a receiver wrote into a frame is still there when its memory comes back, so all of it is written.
///
/// One's complement sums stay as they are in the blank frame: what source and port add, the
/// identification and the sequence number take away.
fn code(blank: &[u8], sources: Sources, device: u32) -> Vec<u8> {
    let length = i16::try_from(blank.len()).expect("a short frame");
    let number = |n: u32| n.cast_signed();
    let mut code = vec![
        op(0x61, 6, 1, 0, 0),             // r6 = data
        op(0x61, 7, 1, 4, 0),             // r7 = data_end
        op(0xbf, 2, 6, 0, 0),             // r2 = r6
        op(0x07, 2, 0, 0, length.into()), // r2 += length
        op(0xbd, 2, 7, 2, 0),             // if r2 <= r7 skip 2
        op(0xb7, 0, 0, 0, 1),             // r0 = XDP_DROP
        op(0x95, 0, 0, 0, 0),             // exit
    ];
    for (offset, word) in (0..length).step_by(4).zip(blank.chunks_exact(4)) {
        let word = i32::from_le_bytes(word.try_into().expect("four bytes"));
        code.push(op(0x62, 6, 0, offset, word)); // *(u32 *)(r6 + offset) = word
    }
    let fold = [
        op(0xbc, 2, 1, 0, 0),      // w2 = w1
        op(0x74, 2, 0, 0, 16),     // w2 >>= 16
        op(0x54, 1, 0, 0, 0xffff), // w1 &= 0xffff
        op(0x0c, 1, 2, 0, 0),      // w1 += w2
    ];
    code.push(op(0x85, 0, 0, 0, GET_PRANDOM_U32));
    code.extend([
        op(0xbc, 1, 0, 0, 0),                               // w1 = w0
        op(0x94, 1, 0, 0, number(sources.count)),           // w1 %= count
        op(0x04, 1, 0, 0, number(sources.first.to_bits())), // w1 += first
        op(0xdc, 1, 0, 0, 32),                              // w1 = htobe32(w1)
        op(0x63, 6, 1, IP_SOURCE, 0),                       // source
    ]);
    code.extend(fold);
    code.extend(fold);
    code.extend([
        op(0xbc, 2, 1, 0, 0),          // w2 = w1
        op(0xa4, 2, 0, 0, 0xffff),     // w2 ^= 0xffff
        op(0x6b, 6, 2, IP_ID, 0),      // identification
        op(0xbc, 3, 0, 0, 0),          // w3 = w0
        op(0x74, 3, 0, 0, 18),         // w3 >>= 18
        op(0x44, 3, 0, 0, FIRST_PORT), // w3 |= first port
        op(0xdc, 3, 0, 0, 16),         // w3 = htobe16(w3)
        op(0x6b, 6, 3, TCP_SOURCE, 0), // source port
        op(0x0c, 1, 3, 0, 0),          // w1 += w3
    ]);
    code.extend(fold);
    code.extend([
        op(0xa4, 1, 0, 0, 0xffff),         // w1 ^= 0xffff
        op(0x6b, 6, 1, TCP_SEQ_LOW, 0),    // sequence number
        op(0xb7, 1, 0, 0, number(device)), // r1 = device
        op(0xb7, 2, 0, 0, 0),              // r2 = 0
        op(0x85, 0, 0, 0, REDIRECT),
        op(0x95, 0, 0, 0, 0), // exit
    ]);
    code.concat()
}
