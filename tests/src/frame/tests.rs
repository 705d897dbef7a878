//! Frames against what a Linux kernel sent, byte for byte, and the shapes it never sends.

use super::*;

/// What Linux 6.18 sent on a veth without offloads: SYNs from port 4000 to a closed port 25.
const SYN_V4: &str = "020000900001020000900002 0800 45000034fe8040004006b83ac0000207c0000201 \
    0fa000193e14009100000000 8002faf0a1b60000 020405b40101040201 03030a";
const RST_V4: &str = "020000900002020000900001 0800 45000028000040004006b6c7c0000201c0000207 \
    00190fa0000000003e140092 50140000dd680000";
const SYN_V6: &str = "020000900001020000900002 86dd 6000000000200640 \
    20010db8000000000000000000000007 20010db8000000000000000000000001 \
    0fa00019b6feee4500000000 8002fd20618a0000 020405a00101040201 03030a";
const RST_V6: &str = "020000900002020000900001 86dd 6000000000140640 \
    20010db8000000000000000000000001 20010db8000000000000000000000007 \
    00190fa000000000b6feee46 501400009f580000";

const CLIENT: Mac = [2, 0, 0, 0x90, 0, 2];
const SERVER: Mac = [2, 0, 0, 0x90, 0, 1];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|c| u8::try_from(c[0] * 16 + c[1]).expect("two digits")).collect()
}

fn kernel_syn(mss: u8, window: u16, seq: u32) -> Tcp {
    let options = [2, 4, 5, mss, 1, 1, 4, 2, 1, 3, 3, 10];
    Tcp::new(Flags::SYN).seq(seq).window(window).options(&options)
}

/// The same fields give the kernel's own bytes, both checksums included.
#[test]
fn equals_the_kernels_syn() {
    let v4 = Frame::tcp("192.0.2.7:4000", "192.0.2.1:25", kernel_syn(0xb4, 64240, 1_041_498_257));
    let v4 = v4.between(CLIENT, SERVER).id(0xfe80).dont_fragment();
    assert_eq!(v4.to_bytes(), bytes(SYN_V4));
    let v6 = Frame::tcp("[2001:db8::7]:4000", "[2001:db8::1]:25", kernel_syn(0xa0, 64800, 3_070_160_453));
    assert_eq!(v6.between(CLIENT, SERVER).to_bytes(), bytes(SYN_V6));
}

/// The kernel's refusals are read as such, and as nothing else.
#[test]
fn reads_the_kernels_refusal() {
    for (refusal, syn) in [(RST_V4, SYN_V4), (RST_V6, SYN_V6)] {
        let syn = Reply::parse(&bytes(syn)).expect("a SYN is TCP");
        assert!(syn.checksum_ok && syn.ip_checksum_ok);
        let reply = Reply::parse(&bytes(refusal)).expect("a refusal is TCP");
        assert!(reply.refuses(syn.source, syn.destination, syn.tcp.seq), "{reply:?}");
        assert!(!reply.refuses(syn.source, syn.destination, syn.tcp.seq + 1));
        let mut broken = bytes(refusal);
        *broken.last_mut().expect("not empty") ^= 1;
        let broken = Reply::parse(&broken).expect("still TCP");
        assert!(!broken.refuses(syn.source, syn.destination, syn.tcp.seq), "a wrong checksum is no refusal");
    }
}

/// What is built is read again, through tags, options and padding.
#[test]
fn reads_what_it_builds() {
    let data = Tcp::acking(9).seq(8).with(Flags::PSH).payload("x");
    for tags in 0..=3 {
        for ihl in 5..=15 {
            let frame = Frame::tcp("192.0.2.7:4000", "198.51.100.1:25", data.clone()).ihl(ihl).padded();
            let frame = (0..tags).fold(frame, |frame, id| frame.tag(TPID_8021AD, id));
            let reply = Reply::parse(&frame.to_bytes()).expect("TCP");
            assert!(reply.checksum_ok && reply.ip_checksum_ok);
            assert_eq!((reply.vlans.len(), reply.tcp.payload), (tags.into(), b"x".to_vec()));
            assert_eq!((reply.tcp.seq, reply.tcp.ack, reply.tcp.flags), (8, 9, Flags::PSH | Flags::ACK));
        }
    }
}

/// What a test breaks is broken, and the rest is right.
#[test]
fn breaks_one_checksum_at_a_time() {
    let read = |frame: Frame| Reply::parse(&frame.to_bytes()).expect("TCP");
    let ip = read(Frame::syn("192.0.2.7:1", "192.0.2.1:25").broken_ip_checksum());
    assert_eq!((ip.ip_checksum_ok, ip.checksum_ok), (false, true));
    let tcp = read(Frame::tcp("192.0.2.7:1", "192.0.2.1:25", Tcp::syn().broken_checksum()));
    assert_eq!((tcp.ip_checksum_ok, tcp.checksum_ok), (true, false));
}

/// A chain of extension headers names each next one, and the transport last.
#[test]
fn chains_extension_headers() {
    let udp = Frame::new("[2001:db8::7]:1", "[2001:db8::1]:2", Transport::Udp(vec![0; 4]));
    let fragment = Extension::Fragment(Fragment { offset_bytes: 8, more: true });
    let chain = [Extension::HopByHop, Extension::LongOptions(1), Extension::Authentication(4), fragment];
    let frame = chain.into_iter().fold(udp, Frame::extension).id(7).to_bytes();
    let ip = &frame[14..];
    assert_eq!((ip[5], ip[6]), (8 + 16 + 16 + 8 + 12, 0), "payload length, then hop-by-hop");
    let headers = &ip[40..];
    assert_eq!(headers[..2], [60, 0], "8 bytes of hop-by-hop, destination options follow");
    assert_eq!(headers[8..10], [51, 1], "16 bytes of destination options, authentication follows");
    assert_eq!(headers[24..26], [44, 2], "16 bytes of authentication, a fragment follows");
    assert_eq!(headers[40..48], [17, 0, 0, 9, 0, 0, 0, 7], "offset 8, more, identification 7, UDP follows");
}

/// Fragments hold the packet's payload in order, all but the last say "more".
#[test]
fn fragments_cover_the_payload() {
    let frame = Frame::tcp("192.0.2.7:1", "192.0.2.1:25", Tcp::acking(1));
    let whole = frame.to_bytes();
    let parts = frame.to_fragments(8);
    let offsets: Vec<_> = parts.iter().map(|p| u16::from_be_bytes([p[20], p[21]])).collect();
    assert_eq!(offsets, [0x2000, 0x2001, 2]);
    let payload: Vec<_> = parts.iter().flat_map(|p| &p[34..]).copied().collect();
    assert_eq!(payload, whole[34..]);
    assert!(parts.iter().all(|p| checksum(&p[14..34]) == 0), "each header has its own checksum");
}
