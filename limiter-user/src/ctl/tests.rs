//! Commands against a daemon on a packet path in memory, over a real socket.
//!
//! - every command, for people and as JSON
//! - exit codes: refused, usage, unreachable
//! - following refusals until the daemon ends

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Args, Exit, Screen, run};
use crate::{
    clock::Now,
    config::Config,
    daemon::{self, Boot, RunError, Signal},
    dataplane::{DataplaneError, memory::Memory},
};

const SMTP: u16 = 25;

/// A daemon that runs until it is dropped or stopped.
struct Bed {
    directory: tempfile::TempDir,
    memory: Memory,
    signals: mpsc::Sender<Signal>,
    task: JoinHandle<Result<(), RunError>>,
    metrics: SocketAddr,
}

impl Bed {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // A port that was free a moment ago: the daemon takes no socket from outside.
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = directory.path().join("limiter.toml");
        fs::write(&path, config(&directory.path().join("limiterd.sock"), metrics)).unwrap();
        let boot = Boot::read(&path, Now::read()).unwrap();
        let (signals, receiver) = mpsc::channel(1);
        let memory = Memory::new(Now::read());
        let opening = memory.clone();
        let task = tokio::spawn(daemon::run(boot, move |_: &Config| Ok(opening), receiver));
        let bed = Self { directory, memory, signals, task, metrics };
        bed.until(&["status"], |exit, _| exit == Exit::Done).await;
        bed
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("limiterd.sock")
    }

    /// Runs a command; returns how it ended and what it wrote.
    async fn ctl(&self, words: &[&str]) -> (Exit, String) {
        ctl(&self.socket(), words).await
    }

    async fn json(&self, words: &[&str]) -> Value {
        let (exit, text) = self.ctl(&[words, &["--json"]].concat()).await;
        assert_eq!(exit, Exit::Done, "{words:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Repeats a command until its outcome is as wanted, for five seconds at most.
    async fn until(&self, words: &[&str], wanted: impl Fn(Exit, &str) -> bool) -> String {
        for _ in 0..500 {
            let (exit, text) = self.ctl(words).await;
            if wanted(exit, &text) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{words:?} did not come out as wanted: {:?}", self.ctl(words).await)
    }

    /// Fetches a path from the metrics address; returns status line, head and body as they come.
    async fn http(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: limiterd\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn stop(self) -> Memory {
        self.signals.send(Signal::Stop).await.unwrap();
        self.task.await.unwrap().unwrap();
        assert!(!self.directory.path().join("limiterd.sock").exists(), "the socket is removed");
        self.memory
    }
}

/// Runs a command against the daemon behind a socket.
async fn ctl(socket: &Path, words: &[&str]) -> (Exit, String) {
    let words = [&["limiterctl", "--socket", socket.to_str().unwrap()], words].concat();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let exit = run(Args::try_parse_from(words).unwrap(), Screen::default(), &mut out, &mut errors).await;
    out.extend(errors);
    (exit, String::from_utf8(out).unwrap())
}

fn config(socket: &Path, metrics: SocketAddr) -> String {
    format!(
        "mode = \"enforce\"\n[runtime]\nstate_dir = \"{0}.state\"\ncontrol_socket = \"{0}\"\nmetrics_listen = \"{metrics}\"\n\
         [[service]]\nname = \"smtp\"\nports = [25]\nconnections_per_source = 2\n",
        socket.display()
    )
}

fn greedy() -> IpAddr {
    [192, 0, 2, 7].into()
}

/// What is typed is done, and shown to people.
#[tokio::test]
async fn commands_are_done() {
    let bed = Bed::start().await;
    for _ in 0..3 {
        let _verdict = bed.memory.connect(greedy(), SMTP);
    }
    for (words, says) in [
        (&["check", "192.0.2.7", "--port", "25"][..], "refuse (connections_per_source)  port 25 (smtp)"),
        (
            &["allow", "192.0.2.0/24", "--ttl", "2h", "--note", "ticket 7"],
            "192.0.2.0/24 is exempt on every service for 2h",
        ),
        (&["list"], "ticket 7"),
        (&["check", "192.0.2.7"], "pass (exempt)"),
        (&["remove", "192.0.2.0/24"], "no longer: 192.0.2.0/24 is exempt"),
        (&["deny", "198.51.100.9", "--service", "smtp"], "198.51.100.9/32 is denied on smtp"),
        (&["mode", "observe"], "service `smtp`: enforce -> observe"),
        (&["status"], "observe*"),
        (&["top"], "192.0.2.7"),
        (&["reload"], "nothing changed"),
    ] {
        let (exit, text) = bed.ctl(words).await;
        assert_eq!(exit, Exit::Done, "{words:?}: {text}");
        assert!(text.contains(says), "{words:?}: {text}");
    }
    bed.until(&["drops"], |_, text| {
        text.contains("connections_per_source") && text.contains("192.0.2.7 port 25")
    })
    .await;
    assert!(bed.stop().await.world().detached);
}

/// What scripts read has the fields they read.
#[tokio::test]
async fn json_is_for_scripts() {
    let bed = Bed::start().await;
    for _ in 0..3 {
        let _verdict = bed.memory.connect(greedy(), SMTP);
    }
    let answer = &bed.json(&["check", "192.0.2.7", "--port", "25"]).await["answers"][0];
    assert_eq!((answer["verdict"].as_str(), answer["held"].as_u64()), (Some("refuse"), Some(2)));
    let status = bed.json(&["status"]).await;
    assert_eq!(status["services"][0]["mode"], "enforce");
    assert_eq!(status["services"][0]["refused"], 1);
    assert_eq!(bed.json(&["top", "--by", "open"]).await["sources"][0]["open"], 2);
    let change = bed.json(&["deny", "198.51.100.9"]).await;
    assert_eq!((change["revision"].as_u64(), change["rule"]["origin"].as_str()), (Some(2), Some("runtime")));
    assert!(bed.json(&["list"]).await["rules"].as_array().unwrap().len() > 4);
    bed.stop().await;
}

/// Exit codes tell what went wrong, and the text what helps.
#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let bed = Bed::start().await;
    for (words, exit, says) in [
        (&["remove", "192.0.2.0/24"][..], Exit::Refused, "limiterctl list"),
        (&["top", "--service", "imap"], Exit::Refused, "services are: smtp"),
        (&["allow", "192.0.2.7/24"], Exit::Usage, "write 192.0.2.0/24"),
        (&["allow", "192.0.2.7", "--ttl", "soon"], Exit::Usage, "90s, 15m, 2h or 7d"),
    ] {
        let (got, text) = bed.ctl(words).await;
        assert_eq!(got, exit, "{words:?}: {text}");
        assert!(text.contains(says), "{words:?}: {text}");
    }
    let nowhere = bed.directory.path().join("nowhere.sock");
    for words in [&["status"][..], &["top", "--follow"]] {
        let (exit, text) = ctl(&nowhere, words).await;
        assert_eq!(exit, Exit::Unreachable);
        assert!(text.contains("nowhere.sock") && text.contains("systemctl start limiterd"), "{text}");
    }
    let parsed = |words: &[&str]| Args::try_parse_from([&["limiterctl", "top"], words].concat());
    for (words, fits) in [
        (&["--follow", "--interval", "1h"][..], true),
        (&["--follow", "--interval", "999ms"], false),
        (&["--interval", "5s"], false),
        (&[], true),
    ] {
        assert_eq!(parsed(words).is_ok(), fits, "{words:?}");
    }
    bed.stop().await;
}

/// A follower sees what was kept and what comes, and ends with the daemon.
#[tokio::test]
async fn followers_see_every_refusal() {
    let bed = Bed::start().await;
    for _ in 0..3 {
        let _verdict = bed.memory.connect(greedy(), SMTP);
    }
    bed.until(&["drops"], |_, text| text.contains("192.0.2.7")).await;
    let socket = bed.socket();
    let follower = tokio::spawn(async move {
        let args = ["limiterctl", "--socket", socket.to_str().unwrap(), "--json", "drops", "--follow"];
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let exit = run(Args::try_parse_from(args).unwrap(), Screen::default(), &mut out, &mut errors).await;
        (exit, String::from_utf8(out).unwrap())
    });
    let _verdict = bed.memory.connect(greedy(), SMTP);
    bed.until(&["drops"], |_, text| text.lines().count() == 2).await;
    bed.stop().await;
    let (exit, lines) = follower.await.unwrap();
    assert_eq!(exit, Exit::Unreachable, "the daemon ended first");
    let seen: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|refusal| refusal["address"] == "192.0.2.7"));
}

/// Machines get metrics and health on the metrics address.
#[tokio::test]
async fn metrics_and_health_are_served() {
    let bed = Bed::start().await;
    let metrics = bed.http("/metrics").await;
    assert!(
        metrics.starts_with("HTTP/1.1 200") && metrics.contains("application/openmetrics-text"),
        "{metrics}"
    );
    assert!(
        metrics.contains("limiter_mode{service=\"smtp\",mode=\"enforce\"} 1") && metrics.ends_with("# EOF\n")
    );
    assert!(bed.http("/livez").await.ends_with("alive\n"));
    assert!(bed.http("/readyz").await.contains("revision 1 is in force"));
    assert!(bed.http("/healthz").await.starts_with("HTTP/1.1 200"));
    bed.memory.world().broken = Some("heartbeat");
    bed.until(&["status"], |_, text| text.contains("failing")).await;
    let health = bed.http("/healthz").await;
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("\"name\":\"smtp\""), "{health}");
    bed.memory.world().broken = None;
    bed.stop().await;
}

/// A second daemon is refused before it touches anything, and SIGHUP reads the file anew.
#[tokio::test]
async fn one_daemon_per_socket_and_reload_by_signal() {
    let bed = Bed::start().await;
    let path = bed.directory.path().join("limiter.toml");
    let (_signals, receiver) = mpsc::channel(1);
    let start = |_: &Config| -> Result<Memory, DataplaneError> { panic!("it must not start") };
    let second = daemon::run(Boot::read(&path, Now::read()).unwrap(), start, receiver).await;
    assert!(matches!(second, Err(RunError::Socket(_))), "{second:?}");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("connections_per_source = 2", "connections_per_source = 9")).unwrap();
    bed.signals.send(Signal::Reload).await.unwrap();
    bed.until(&["status"], |_, text| text.contains("revision 2")).await;
    bed.stop().await;
}
