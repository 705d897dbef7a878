//! From what was typed to what is meant: defaults, ranges, and the tables of the host.
//!
//! Services and classes have files of their own.

use std::{collections::HashMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use super::{
    breaker, class,
    model::{Attach, Cgroup, Config, ConfigFile, ControlRead, Interfaces, Mode, Runtime, SourceLengths},
    problem::Problems,
    raw::{RawConfig, RawRuntime, RawSource},
    read::{At, OrWord},
    recorder, service, value, witness,
};

/// Where maps and links are pinned unless the configuration says otherwise.
pub const PIN_DIR: &str = "/sys/fs/bpf/limiter";
/// The values of `mode`.
pub(super) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
/// The values of `control_read`.
const READERS: [(&str, ControlRead); 2] = [("group", ControlRead::Group), ("all", ControlRead::All)];

/// Bytes of an interface name (`IFNAMSIZ` less the final zero, `include/uapi/linux/if.h`).
const INTERFACE_LEN_MAX: usize = 15;
/// Bytes of the path of a Unix socket (`sun_path` less the final zero, `include/uapi/linux/un.h`).
const SOCKET_PATH_LEN_MAX: usize = 107;
/// The widest sources that make sense: a whole IPv4 /8 or a provider's IPv6 /32.
const IPV4_PREFIX_LEN_MIN: i64 = 8;
const IPV6_PREFIX_LEN_MIN: i64 = 32;
/// What `observe_after_daemon_loss` may be: from a restart's length to a week.
const DAEMON_LOSS_MIN: Duration = Duration::from_secs(1);
const DAEMON_LOSS_MAX: Duration = Duration::from_hours(7 * 24);
/// What `recount_interval` may be: from a heartbeat to what an operator would call stale.
const RECOUNT_MIN: Duration = Duration::from_secs(1);
const RECOUNT_MAX: Duration = Duration::from_mins(5);

/// Resolves a whole file; what it returns is worth something only if no problem was noted.
pub(super) fn config(raw: &RawConfig, file: ConfigFile, problems: &mut Problems) -> Config {
    let mode = value::choice("mode", raw.mode.as_ref(), &MODES, problems).unwrap_or(Mode::Observe);
    let services = service::services(raw, mode, problems);
    let classes = class::classes(raw, &services, problems);
    Config {
        file,
        interfaces: interfaces(raw, problems),
        attach: attach(raw, problems),
        source: source(&raw.source, problems),
        runtime: runtime(&raw.runtime, problems),
        breaker: breaker::breaker(&raw.breaker, problems),
        witness: witness::witness(&raw.witness, problems),
        upstreams: witness::upstreams(raw, problems),
        recorder: recorder::recorder(&raw.recorder, problems),
        services,
        classes,
    }
}

fn interfaces(raw: &RawConfig, problems: &mut Problems) -> Interfaces {
    let Some(at) = &raw.interfaces else {
        return Interfaces::Auto;
    };
    let names = match &at.value {
        OrWord::Word(word) if word == "auto" => return Interfaces::Auto,
        OrWord::Word(word) => {
            let message = format!("`interfaces` is `{word}`");
            problems.add(
                at.span.clone(),
                message,
                format!("write [\"{word}\"] for one interface, or \"auto\""),
            );
            return Interfaces::Auto;
        }
        OrWord::Value(names) => names,
    };
    if names.is_empty() {
        let help =
            "name the interfaces, write \"auto\", or set `attach = \"none\"` to limit at the gate alone";
        problems.add(at.span.clone(), "`interfaces` is empty", help);
    }
    let mut seen = HashMap::new();
    for At { value: name, span, .. } in names {
        let is_letter = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if name.is_empty() || name.len() > INTERFACE_LEN_MAX || !name.bytes().all(is_letter) {
            let message = format!("`{name}` is no interface name");
            problems.add(
                span.clone(),
                message,
                "expected 1 to 15 characters without spaces, as `ip link` shows them",
            );
        } else if let Some(first) = seen.insert(name.as_str(), span.clone()) {
            let message = format!("interface `{name}` is listed twice");
            problems.add_related(
                span.clone(),
                message,
                "remove one of the two",
                (first, "listed first here"),
            );
        }
    }
    Interfaces::Named(names.iter().map(|name| name.value.clone()).collect())
}

fn attach(raw: &RawConfig, problems: &mut Problems) -> Attach {
    const MODES: [(&str, Attach); 5] = [
        ("auto", Attach::Auto),
        ("native", Attach::Native),
        ("generic", Attach::Generic),
        ("tcx", Attach::Tcx),
        ("none", Attach::None),
    ];
    value::choice("attach mode", raw.attach.as_ref(), &MODES, problems).unwrap_or(Attach::Auto)
}

fn source(raw: &RawSource, problems: &mut Problems) -> SourceLengths {
    let mut length = |key, at: Option<&At<i64>>, least, most: u8| {
        at.and_then(|at| value::number(key, at, least..=i64::from(most), problems))
            .and_then(|length| u8::try_from(length).ok())
    };
    SourceLengths {
        ipv4: length("ipv4_prefix_len", raw.ipv4_prefix_len.as_ref(), IPV4_PREFIX_LEN_MIN, 32).unwrap_or(32),
        ipv6: length("ipv6_prefix_len", raw.ipv6_prefix_len.as_ref(), IPV6_PREFIX_LEN_MIN, 128).unwrap_or(64),
    }
}

fn runtime(raw: &RawRuntime, problems: &mut Problems) -> Runtime {
    let mut path = |key, at: &Option<At<String>>, default: &str| {
        value::path(key, at.as_ref(), problems).unwrap_or_else(|| default.into())
    };
    let state_dir = path("state_dir", &raw.state_dir, crate::state::DIRECTORY);
    let pin_dir = path("pin_dir", &raw.pin_dir, PIN_DIR);
    let control_socket = path("control_socket", &raw.control_socket, "/run/limiter/limiterd.sock");
    if let Some(at) = raw.control_socket.as_ref().filter(|at| at.value.len() > SOCKET_PATH_LEN_MAX) {
        let message = format!("`control_socket` has {} bytes", at.value.len());
        problems.add(at.span.clone(), message, "the path of a Unix socket has at most 107 bytes");
    }
    let cgroup = match &raw.cgroup {
        Some(at) if at.value != "auto" => {
            value::path("cgroup", Some(at), problems).map_or(Cgroup::Auto, Cgroup::Path)
        }
        _ => Cgroup::Auto,
    };
    let read = value::choice("control_read", raw.control_read.as_ref(), &READERS, problems);
    Runtime {
        state_dir,
        pin_dir,
        control_socket,
        control_group: raw.control_group.as_ref().and_then(|at| value::group("control_group", at, problems)),
        control_read: read.unwrap_or(ControlRead::Group),
        metrics_listen: metrics_listen(raw.metrics_listen.as_ref(), problems),
        cgroup,
        keep_on_exit: raw.keep_on_exit.as_ref().is_some_and(|at| at.value),
        observe_after_daemon_loss: daemon_loss(raw.observe_after_daemon_loss.as_ref(), problems),
        recount_interval: raw
            .recount_interval
            .as_ref()
            .and_then(|at| within("recount_interval", at, RECOUNT_MIN..=RECOUNT_MAX, "1s to 5m", problems))
            .unwrap_or(Duration::from_secs(10)),
    }
}

fn metrics_listen(at: Option<&At<String>>, problems: &mut Problems) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 9590));
    let Some(At { value, span, .. }) = at else {
        return default;
    };
    let Ok(address) = value.parse::<SocketAddr>() else {
        let message = format!("`metrics_listen` is `{value}`, which is no address and port");
        problems.add(span.clone(), message, "write it like \"127.0.0.1:9590\" or \"[::1]:9590\"");
        return default;
    };
    if !address.ip().to_canonical().is_loopback() {
        let message = format!("`metrics_listen` is {}, which is not loopback", address.ip());
        let help = format!(
            "metrics carry no authentication: listen on 127.0.0.1:{} and put a proxy that asks for a \
             password, or a tunnel, in front",
            address.port()
        );
        problems.add(span.clone(), message, help);
    } else if address.port() == 0 {
        problems.add(
            span.clone(),
            "`metrics_listen` has port 0",
            "name the port that Prometheus is to scrape",
        );
    }
    address
}

fn daemon_loss(at: Option<&At<String>>, problems: &mut Problems) -> Option<Duration> {
    const KEY: &str = "observe_after_daemon_loss";
    let default = Some(Duration::from_mins(5));
    let Some(at) = at else {
        return default;
    };
    if at.value == "never" {
        return None;
    }
    within(KEY, at, DAEMON_LOSS_MIN..=DAEMON_LOSS_MAX, "1s to 7d, or \"never\"", problems).or(default)
}

/// Returns a duration if it is one and within its range.
pub(super) fn within(
    key: &str,
    At { value, span, .. }: &At<String>,
    range: RangeInclusive<Duration>,
    expected: &str,
    problems: &mut Problems,
) -> Option<Duration> {
    match value::duration(value) {
        Ok(duration) if range.contains(&duration) => return Some(duration),
        Ok(_) => problems.add(span.clone(), format!("`{key}` is {value}"), format!("expected {expected}")),
        Err(error) => problems.add(
            span.clone(),
            format!("`{value}` is no duration: {error}"),
            "write a number with its unit, such as \"300s\", \"5m\" or \"2h\"",
        ),
    }
    None
}
