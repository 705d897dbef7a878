//! Entries compared with the sockets that are open, as the namespace lists them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use limiter_tests::netns::Namespace;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use limiter_user::conntrack::cross::FindingKind;
use limiter_user::conntrack::{Findings, Flow, Guard, OUTBOUND, Watcher};
use limiter_user::host::local_addresses;

use super::{CONNTRACK, PATIENCE, SMTP, connect, connect_from, conntrack, greeter, tracking};

/// The id of the service in these tests.
const ID: u32 = 1;

/// A watcher in the server's namespace.
fn watcher(bed: &Bed) -> Watcher {
    bed.server.run(|| {
        let local = local_addresses().expect("the namespace has addresses");
        Watcher::start(Guard::new([(SMTP, ID)], &local)).expect("a thread and a pipe")
    })
}

/// Every connection to port 25 and from here to port 25, as the kernel lists its sockets.
fn flows(namespace: &Namespace) -> Vec<Flow> {
    let list = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let lists = namespace.run(|| [list("tcp"), list("tcp6")]);
    let flow = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (end(fields.get(1)?)?, end(fields.get(2)?)?);
        // 01 is ESTABLISHED.
        let service = match (local.port(), remote.port(), *fields.get(3)?) {
            (SMTP, _, "01") => ID,
            (_, SMTP, "01") => OUTBOUND,
            _ => return None,
        };
        Some(Flow { local, remote, service })
    };
    lists.iter().flat_map(|list| list.lines().filter_map(flow)).collect()
}

/// Reads `0100007F:0019`: words of the address in the host's order, the port in hexadecimal.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = (0..address.len() / 8).map(|n| u32::from_str_radix(&address[8 * n..8 * (n + 1)], 16).ok());
    let octets: Vec<u8> =
        words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets.as_slice()).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn check(watcher: &mut Watcher, bed: &Bed) -> Findings {
    watcher.cross_check(&flows(&bed.server))
}

/// Waits until the watcher's table has so many entries of a service.
#[track_caller]
fn wait_known(watcher: &Watcher, service: u32, wanted: u32) {
    let what = format!("entries of service {service}");
    wait::until_eq(&what, &wanted, PATIENCE, || watcher.view().counts.service(service));
}

/// Sockets whose entries are flushed, inbound and outbound, in both families, are found in two checks, one check
/// finds nothing, and what agrees never does.
#[test]
fn flushed_entries_are_found() {
    require!(host::BED, CONNTRACK);
    let bed = tracking();
    bed.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    let _servers = [&bed.server, &bed.client().namespace].map(|namespace| greeter(namespace, SMTP));
    let mut watcher = watcher(&bed);
    let inbound = [bed.client().server_ipv4(), bed.client().server_ipv6()];
    let outbound = [bed.client().ipv4(), bed.client().ipv6()];
    let _in = inbound.map(|address| connect(bed.client(), address));
    let _out = outbound.map(|address| connect_from(&bed.server, SocketAddr::new(address, SMTP)));
    wait_known(&watcher, ID, 2);
    wait_known(&watcher, OUTBOUND, 2);
    for _ in 0..5 {
        assert_eq!(check(&mut watcher, &bed), Findings::new(), "they agree");
    }
    conntrack(&bed.server, &["-F"]);
    wait_known(&watcher, ID, 0);
    wait_known(&watcher, OUTBOUND, 0);
    assert_eq!(check(&mut watcher, &bed), Findings::new(), "once is not enough");
    let kind = FindingKind::SocketWithoutEntry;
    assert_eq!(check(&mut watcher, &bed), Findings::from([((ID, kind), 2), ((OUTBOUND, kind), 2)]));
    let view = watcher.view();
    assert!(
        view.findings_of(ID)[0].contains("no entry for 2 open connections"),
        "{:?}",
        view.findings_of(ID)
    );
    assert!(view.findings()[0].contains("outbound mail"), "{:?}", view.findings());
}

/// An established entry that nobody has open is found; one of another host's address is not ours to judge.
#[test]
fn entries_of_nobody_are_found() {
    require!(host::BED, CONNTRACK);
    let bed = tracking();
    let mut watcher = watcher(&bed);
    let server = bed.client().server_ipv4().to_string();
    let insert = |to: &str| {
        let tuple = ["-I", "-p", "tcp", "-s", "10.90.0.2", "-d", to, "--sport", "44444", "--dport", "25"];
        conntrack(&bed.server, &[&tuple[..], &["--state", "ESTABLISHED", "-t", "600"]].concat());
    };
    insert(&server);
    insert("10.90.0.99");
    wait_known(&watcher, ID, 1);
    assert_eq!(check(&mut watcher, &bed), Findings::new(), "once is not enough");
    assert_eq!(check(&mut watcher, &bed), Findings::from([((ID, FindingKind::EntryWithoutSocket), 1)]));
    conntrack(&bed.server, &["-F"]);
    wait_known(&watcher, ID, 0);
    assert_eq!(check(&mut watcher, &bed), Findings::new(), "gone is gone");
}

/// Where nothing is tracked there is nothing to compare with.
#[test]
fn nothing_is_found_without_tracking() {
    require!(host::BED, CONNTRACK);
    let bed = Bed::new();
    let _server = greeter(&bed.server, SMTP);
    let mut watcher = watcher(&bed);
    let _streams: Vec<_> = (0..5).map(|_| connect(bed.client(), bed.client().server_ipv4())).collect();
    wait::until_eq("flows", &5, PATIENCE, || flows(&bed.server).len());
    wait::holds_for("nothing is found", Duration::from_secs(2), || check(&mut watcher, &bed).is_empty());
}
