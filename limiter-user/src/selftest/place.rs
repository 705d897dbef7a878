//! The private namespace, its link to the host, and that both go again.
//!
//! The namespace has no name: a descriptor holds it, so that it ends with this
//! process however that ends, and the veth pair with it. Devices are made by
//! `ip`: it is on every host that has a network, takes the namespace as a path,
//! and an operator can repeat each line by hand.
//!
//! Addresses are of the ranges for tests of network devices, 198.18.0.0/15
//! (RFC 2544) and `2001:2::/48` (RFC 5180): nobody on the Internet has them, and
//! unlike private ones no network at home or in an office does.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    process::{self, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};

use super::{SelftestError, wait_for};

/// The host's end of the link.
const DEVICE: &str = "limtest0";
/// The other end.
const PEER: &str = "limtest1";
/// How long the link may take to come up.
const LINK_TIME: Duration = Duration::from_secs(5);

/// The network of a family, and both ends in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// The host.
    pub(super) host: IpAddr,
    /// The namespace.
    pub(super) peer: IpAddr,
    length: u8,
}

/// In IPv4.
const IPV4: Network = Network {
    host: IpAddr::V4(Ipv4Addr::new(198, 18, 213, 1)),
    peer: IpAddr::V4(Ipv4Addr::new(198, 18, 213, 2)),
    length: 30,
};
/// In IPv6.
const IPV6: Network = Network {
    host: IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0xd5, 0, 0, 0, 1)),
    peer: IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0xd5, 0, 0, 0, 2)),
    length: 64,
};

/// Whether the link is there, shared with who takes a signal.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<LinkState>);

#[derive(Debug, Default)]
struct LinkState {
    is_there: bool,
    is_over: bool,
}

impl Link {
    /// Deletes the link if it is there; none can be made any more.
    pub(super) fn end(&self) -> Result<(), SelftestError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        if std::mem::take(&mut state.is_there) {
            ip(&format!("link del {DEVICE}\n"))?;
        }
        Ok(())
    }

    fn make(&self, namespace: &File) -> Result<(), SelftestError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_over {
            return Err(SelftestError::Interrupted);
        }
        // By the path of our descriptor: a thread's own path would be gone with the thread.
        let path = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
        ip(&format!("link add {DEVICE} type veth peer name {PEER} netns {path}\n"))?;
        state.is_there = true;
        Ok(())
    }
}

/// The namespace with its link; gone when dropped.
#[derive(Debug)]
pub(super) struct Place {
    namespace: File,
    link: Arc<Link>,
    /// The families that the host has.
    pub(super) networks: Vec<Network>,
}

impl Place {
    /// Makes the namespace and the link; refuses where an address is taken.
    pub(super) fn make(link: &Arc<Link>) -> Result<Self, SelftestError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(SelftestError::Unfit(
                "selftest makes a network namespace: run it as root".to_owned(),
            ));
        }
        let networks = if has_ipv6() { vec![IPV4, IPV6] } else { vec![IPV4] };
        for network in &networks {
            refuse_collision(network)?;
        }
        let place = Self { namespace: private_namespace()?, link: Arc::clone(link), networks };
        link.make(&place.namespace)?;
        ip(&place.lines(DEVICE, |network| network.host))?;
        // Services may listen on other addresses of the host only.
        let route = |network: &Network| format!("route add default via {} dev {PEER}\n", network.host);
        let routes: String = place.networks.iter().map(route).collect();
        let inside = place.lines(PEER, |network| network.peer) + "link set lo up\n" + &routes;
        place.run(|| ip(&inside))??;
        Self::wait_up()?;
        Ok(place)
    }

    /// Runs `work` in the namespace, on a thread of its own; sockets made there stay there.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, SelftestError> {
        let entered = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|e| SelftestError::failed("enter the namespace", e.into()))?;
            Ok(work())
        };
        let done = thread::scope(|scope| scope.spawn(entered).join());
        done.unwrap_or_else(|_| Err(SelftestError::Unfit("the selftest panicked".to_owned())))
    }

    fn lines(&self, device: &str, address: impl Fn(&Network) -> IpAddr) -> String {
        let line = |network: &Network| {
            let (own, length) = (address(network), network.length);
            if own.is_ipv4() {
                return format!("addr add {own}/{length} dev {device}\n");
            }
            // No addresses beside ours: nothing but the test is on the link.
            format!("link set {device} addrgenmode none\naddr add {own}/{length} dev {device} nodad\n")
        };
        let addresses: String = self.networks.iter().map(line).collect();
        addresses + &format!("link set {device} up\n")
    }

    /// Waits until both ends carry.
    fn wait_up() -> Result<(), SelftestError> {
        let is_up = || match ip_says(&["-o", "link", "show", "dev", DEVICE]) {
            Ok(said) => said.contains("LOWER_UP").then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        let late = || Err(SelftestError::Unfit(format!("the link {DEVICE} does not come up")));
        wait_for(LINK_TIME, is_up).unwrap_or_else(late)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.link.end() {
            tracing::warn!(error = crate::chain::chain(&error), "the link goes with this process");
        }
    }
}

/// Returns a new network namespace that nothing but the descriptor holds.
fn private_namespace() -> Result<File, SelftestError> {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    });
    let made = made.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
    made.map_err(|e| SelftestError::failed("make a network namespace", e))
}

/// Whether the host has IPv6, and has it on.
fn has_ipv6() -> bool {
    ["all", "default"].iter().all(|which| {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
    })
}

/// Fails if the host has an address or a route inside the network, or one to it that is not the default.
fn refuse_collision(network: &Network) -> Result<(), SelftestError> {
    let ours = IpNet::new_assert(network.host, network.length);
    let family = if ours.addr().is_ipv4() { "-4" } else { "-6" };
    for line in ip_says(&[family, "-o", "route", "show", "table", "all"])?.lines() {
        if let Some(route) = unicast(line)
            && route.prefix_len() > 0
            && (route.contains(&ours) || ours.contains(&route))
        {
            return Err(SelftestError::Unfit(format!(
                "the host has a route to {route}, and selftest wants {}: it changes nothing there",
                ours.trunc()
            )));
        }
    }
    Ok(())
}

/// Returns where a route leads; none for the default, and for those that lead nowhere, as hosts
/// have them for ranges that the Internet does not route.
fn unicast(line: &str) -> Option<IpNet> {
    let mut words = line.split_whitespace();
    let word = match words.next()? {
        "local" | "unicast" | "broadcast" | "anycast" => words.next()?,
        word => word,
    };
    word.parse().ok().or_else(|| word.parse().ok().map(|address: IpAddr| IpNet::from(address)))
}

/// Runs lines of `ip` in the network namespace of this thread.
fn ip(lines: &str) -> Result<(), SelftestError> {
    let failed = |e| SelftestError::failed("run `ip`, of the package iproute2", e);
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(SelftestError::Unfit(format!("`ip` refuses: {}", said.lines().next().unwrap_or("it says not why"))))
}

fn ip_says(arguments: &[&str]) -> Result<String, SelftestError> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|e| SelftestError::failed("run `ip`, of the package iproute2", e))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route that leads somewhere is one that a test would change; one to nowhere is not.
    #[test]
    fn routes_to_nowhere_do_not_collide() {
        let of = |line| unicast(line).map(|net| net.to_string());
        assert_eq!(of("198.18.0.0/15 dev tun0 scope link").as_deref(), Some("198.18.0.0/15"));
        assert_eq!(of("local 198.18.213.1 dev eth0 table local").as_deref(), Some("198.18.213.1/32"));
        assert_eq!(of("blackhole 198.18.0.0/15"), None);
        assert_eq!(of("default via 192.0.2.1 dev eth0"), None);
    }
}
