//! The paths that are measured, with the policy, the state and the frame that lead down each.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use aya::programs::TestRun as _;
use limiter_common::addr::Addr;
use limiter_common::gcra::Quota;
use limiter_common::limits::{Limits, Service};
use limiter_common::map::{ClassOf, SourceKey};
use limiter_common::names;
use limiter_common::policy::CLASS_LOCAL;

use super::{Hook, mean_ns, options};
use crate::fixture::{Fixture, Rules, now_ns};
use crate::frame::{Flags, Frame, Tcp};

/// Services: refusing by a reset, refusing in silence, and at its ceiling, of which no refusal stands.
const RESET: u8 = 1;
const SILENT: u8 = 2;
const FULL: u8 = 3;
const RESET_PORT: u16 = 25;
const SILENT_PORT: u16 = 465;
const FULL_PORT: u16 = 587;
const CEILING: u32 = 1_000;
const UNGUARDED_PORT: u16 = 22;
const LIMIT: u32 = 20;
/// A class that is exempt, and that of the host itself.
const PROXY: u8 = 4;
const LOCAL: u8 = CLASS_LOCAL as u8;
const MINUTE_NS: u64 = 60_000_000_000;

const SERVER_V4: &str = "198.51.100.1";
const SERVER_V6: &str = "2001:db8::1";
const WITHIN_V4: &str = "192.0.2.7";
const AT_LIMIT_V4: &str = "192.0.2.20";
const EXEMPT_V4: &str = "203.0.113.9";
const UNKNOWN_V4: &str = "192.0.2.99";
/// In the same block as the prefix of the exempt source, and in none itself.
const BESIDE_V4: &str = "203.0.113.99";
const WITHIN_V6: &str = "2001:db8:7::";

/// What XDP returns to pass and to drop, and `cgroup_skb` to pass.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const CGROUP_PASS: u32 = 1;

/// Wanted ratios to an empty program; how many prefixes there are makes no difference.
const WANTED_OPEN: Option<f64> = Some(1.2);
const WANTED_SYN: Option<f64> = Some(4.0);
/// Tags are walked, which takes one comparison more per header.
const WANTED_TAGGED: Option<f64> = Some(1.3);

/// One path: a frame, and the fixture whose state leads it there.
pub struct Path<'a> {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) fixture: &'a Fixture,
    pub(super) frame: Vec<u8>,
    pub(super) returns: u32,
    pub(super) wanted: Option<f64>,
}

impl Path<'_> {
    /// Runs it, and returns what one run takes.
    pub(super) fn mean_ns(&self, repeat: u32) -> f64 {
        let result = match self.hook {
            Hook::Xdp => self.fixture.xdp("ingress").test_run(options(&self.frame, repeat)),
            Hook::CgroupSkb => self.fixture.gate().test_run(options(&self.frame, repeat)),
        };
        if let Ok(result) = &result {
            assert_eq!(result.return_value, self.returns, "the path `{}`", self.name);
        }
        mean_ns(result)
    }
}

/// Fixtures with few prefixes and no source at its limit, and with many prefixes
/// and such a source; and one real connection.
pub struct Bed {
    few: Fixture,
    many: Fixture,
    /// Both ends of a connection over loopback, whose client is at its limit.
    connection: (TcpStream, TcpStream),
}

impl Default for Bed {
    fn default() -> Self {
        Self::new()
    }
}

impl Bed {
    /// Loads the fixtures and opens the connection.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener on loopback");
        let server = listener.local_addr().expect("a bound listener");
        let client = TcpStream::connect(server).expect("a connection over loopback");
        let (accepted, _) = listener.accept().expect("the connection over loopback");
        let mut many = fixture(100_000, server);
        let source = SourceKey { addr: Addr::from(server.ip()), service: RESET.into() };
        many.mark_at_limit(&source);
        Self { few: fixture(10, server), many, connection: (client, accepted) }
    }

    /// Returns every path.
    #[must_use]
    pub fn paths(&self) -> Vec<Path<'_>> {
        let v4 = |address: &str, port: u16| SocketAddr::new(address.parse().expect("an address"), port);
        let data = || Tcp::acking(7).with(Flags::PSH).payload(vec![0x5a; 100]);
        let to = |port| v4(SERVER_V4, port);
        let from = |address| v4(address, 40_000);
        let path = |name, fixture, frame: Frame, returns, wanted| Path {
            name,
            hook: Hook::Xdp,
            fixture,
            frame: frame.to_bytes(),
            returns,
            wanted,
        };
        let (few, many) = (&self.few, &self.many);
        let open = Frame::tcp(from(WITHIN_V4), to(RESET_PORT), data());
        let end = |stream: &TcpStream| stream.local_addr().expect("a connected socket");
        let at_limit = Frame::tcp(end(&self.connection.0), end(&self.connection.1), Tcp::acking(7));
        let syn = |source, port| Frame::syn(from(source), to(port));
        let v6 = |tcp| Frame::tcp(v4(WITHIN_V6, 40_000), v4(SERVER_V6, RESET_PORT), tcp).vlan(5).vlan(6);
        vec![
            path(
                "unguarded port",
                few,
                Frame::tcp(from(WITHIN_V4), to(UNGUARDED_PORT), data()),
                XDP_PASS,
                WANTED_OPEN,
            ),
            path("data of an open connection", few, open.clone(), XDP_PASS, WANTED_OPEN),
            path("data, another source at its limit", many, open.clone(), XDP_PASS, None),
            path("ACK, source at its limit", many, at_limit, XDP_PASS, None),
            path("SYN passed, 10 prefixes", few, syn(WITHIN_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN refused, 10 prefixes", few, syn(WITHIN_V4, FULL_PORT), XDP_DROP, WANTED_SYN),
            path("SYN refused again, 10 prefixes", few, syn(AT_LIMIT_V4, SILENT_PORT), XDP_DROP, WANTED_SYN),
            path("SYN exempt, 10 prefixes", few, syn(EXEMPT_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN unknown, 10 prefixes", few, syn(UNKNOWN_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN beside a prefix, 10", few, syn(BESIDE_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN passed, 100,000 prefixes", many, syn(WITHIN_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN refused, 100,000 prefixes", many, syn(WITHIN_V4, FULL_PORT), XDP_DROP, WANTED_SYN),
            path(
                "SYN refused again, 100,000 prefixes",
                many,
                syn(AT_LIMIT_V4, SILENT_PORT),
                XDP_DROP,
                WANTED_SYN,
            ),
            path("SYN exempt, 100,000 prefixes", many, syn(EXEMPT_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN unknown, 100,000 prefixes", many, syn(UNKNOWN_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("SYN beside a prefix, 100,000", many, syn(BESIDE_V4, RESET_PORT), XDP_PASS, WANTED_SYN),
            path("IPv6, 2 VLAN tags, data", few, v6(data()), XDP_PASS, WANTED_TAGGED),
            path("IPv6, 2 VLAN tags, SYN passed", few, v6(Tcp::syn()), XDP_PASS, WANTED_SYN),
            // The kernel gives a test run of this type a socket in state CLOSE: the gate
            // takes the way out that it takes for every socket but a listener.
            Path {
                name: "gate, open connection",
                hook: Hook::CgroupSkb,
                fixture: few,
                frame: open.to_bytes(),
                returns: CGROUP_PASS,
                wanted: WANTED_OPEN,
            },
        ]
    }
}

/// A fixture with this many prefixes, for addresses that nobody listens at.
pub(super) fn fixture_with(prefixes: u32) -> Fixture {
    fixture(prefixes, SocketAddr::from((Ipv4Addr::LOCALHOST, SILENT_PORT + 1)))
}

/// The frame of a SYN to a guarded port.
pub(super) fn syn_from(source: Ipv4Addr) -> Vec<u8> {
    let server = SocketAddr::new(SERVER_V4.parse().expect("an address"), RESET_PORT);
    Frame::syn(SocketAddr::from((source, 40_000)), server).to_bytes()
}

/// Makes sources known; one in ten has a connection.
pub(super) fn know(fixture: &mut Fixture, sources: impl Iterator<Item = Ipv4Addr>) {
    for (n, source) in sources.enumerate() {
        fixture.set_open(source.into(), RESET.into(), u32::from(n % 10 == 0));
    }
}

/// A fixture with this many prefixes. Every limit there is is set, so that every check is made.
fn fixture(prefixes: u32, server: SocketAddr) -> Fixture {
    let service = |flags| Service { flags: Service::ENFORCE | flags, ceiling: CEILING, ..Service::default() };
    let limits = Limits::limited(LIMIT, Quota::per(300, MINUTE_NS, 100));
    let mut rules = Rules::default()
        .service(RESET, &[RESET_PORT, server.port()], service(Service::RESET))
        .service(SILENT, &[SILENT_PORT], service(0))
        .limits(RESET, 0, limits)
        .service(FULL, &[FULL_PORT], service(0))
        .limits(SILENT, 0, limits)
        .limits(FULL, 0, limits)
        .limits(RESET, PROXY, Limits::EXEMPT)
        .prefix("203.0.113.0/28", PROXY)
        .prefix("2001:db8::1/128", LOCAL);
    rules.policy.observe_after_ns = 5 * MINUTE_NS;
    // Spread over the whole space, /16 to /32, around the measured sources too; none has one of them in it.
    let spread = (1_u32..).map(|n| (n.wrapping_mul(0x9e37_79b9), 16 + n % 17));
    let is_apart = |(bits, len): &(u32, u32)| {
        let measured = [WITHIN_V4, AT_LIMIT_V4, UNKNOWN_V4, BESIDE_V4, "127.0.0.1"];
        let measured = measured.map(|source| source.parse().map(Ipv4Addr::to_bits));
        measured.iter().flatten().all(|source| (source ^ bits) >> (32 - len) != 0)
    };
    for (bits, len) in spread.filter(is_apart).take(prefixes as usize - 1) {
        let class_of = ClassOf { class: [PROXY; names::SERVICES] };
        rules = rules.prefix_by_service(Ipv4Addr::from_bits(bits).into(), len, class_of);
    }
    let mut fixture = Fixture::load();
    fixture.apply(&rules);
    fixture.set_heartbeat(now_ns());
    for local in [SERVER_V4, SERVER_V6, "127.0.0.1"] {
        fixture.add_local(local.parse().expect("an address"));
    }
    for (address, open) in
        [(WITHIN_V4, 1), (WITHIN_V6, 1), (EXEMPT_V4, 3), (AT_LIMIT_V4, LIMIT), ("127.0.0.1", LIMIT)]
    {
        for service in [RESET, SILENT, FULL] {
            fixture.set_open(address.parse().expect("an address"), service.into(), open);
        }
    }
    fixture.set_total(FULL.into(), CEILING);
    fixture
}
