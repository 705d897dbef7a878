//! A configuration on probation on the real packet path: the policy before returns by itself.
//!
//! - `nobody_confirms`: by the daemon, by the kernel with the daemon dead, by a daemon that comes later
//! - `somebody_confirms`: it stays

use std::fs;
use std::time::Duration;

use limiter_tests::client::Burst;
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);
/// A limit that no test comes near.
const ROOM: usize = 4_000;
/// One source at the limit of three, and a server that holds what it accepts.
struct Scene<'a> {
    bed: &'a Bed,
    server: Server,
    daemon: Daemon<'a>,
    held: Vec<Burst>,
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed) -> Self {
        let server = scene::server(bed);
        let daemon = Daemon::start(&bed.server, &scene::config(3));
        let mut scene = Self { bed, server, daemon, held: Vec::new() };
        assert_eq!(scene.connect(5), 3, "three and not one more");
        scene
    }

    /// Tries so many connections at once; returns how many were let in.
    fn connect(&mut self, count: usize) -> usize {
        let burst = scene::connect(self.bed, count);
        let greeted = burst.greeted();
        self.held.push(burst);
        greeted
    }

    /// Puts a limit on probation.
    fn apply(&self, limit: usize, confirm: &str) {
        let file = self.daemon.config().with_file_name("new.toml");
        let text = fs::read_to_string(self.daemon.config()).expect("the configuration");
        fs::write(&file, text.replace("per_source = 3", &format!("per_source = {limit}"))).expect("a file");
        let file = file.display().to_string();
        let changes = self.daemon.ctl_json(&["diff", &file]);
        let expected = format!("service smtp: connections_per_source 3 -> {limit}");
        assert_eq!(changes["changes"][0], expected.as_str());
        let change = self.daemon.ctl_json(&["apply", &file, "--confirm", confirm]);
        assert_eq!(change["changes"][0], expected.as_str());
    }
}

/// The limit of before is back within the time given, three times over: with a daemon, with a dead
/// one, and with one that starts after the time is over. No open connection is touched.
#[test]
fn nobody_confirms() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut scene = Scene::new(&bed);
    scene.apply(5, "8s");
    assert_eq!(scene.connect(4), 2, "five and not one more");
    wait::until("the policy before is back", PATIENCE, || {
        scene.daemon.ctl_json(&["check", "192.0.2.1", "--port", "25"])["answers"][0]["connections_per_source"]
            == 3
    });
    assert_eq!((scene.connect(2), scene.server.held()), (0, 5));
    wait::until("the daemon says so", PATIENCE, || {
        scene.daemon.ctl_json(&["status"])["findings"].to_string().contains("not confirmed in time")
    });

    scene.apply(ROOM, "4s");
    scene.daemon.kill();
    assert_eq!(scene.connect(2), 2, "it is in force when the daemon dies");
    wait::until("the kernel goes back by itself", PATIENCE, || scene.connect(1) == 0);
    assert!(scene.server.held() < ROOM, "the time was over, not the room");
    scene.daemon.start_again();
    assert_eq!(scene.connect(2), 0, "and stays back under the next daemon");
    let findings = scene.daemon.ctl_json(&["status"])["findings"].to_string();
    assert!(findings.contains("not confirmed in time"), "{findings}");
    scene.daemon.assert_sound();
}

/// What is confirmed stays when its time is over, through a kill and a start.
#[test]
fn somebody_confirms() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut scene = Scene::new(&bed);
    scene.apply(5, "8s");
    scene.daemon.ctl_json(&["confirm"]);
    let limit = |scene: &Scene<'_>| {
        scene.daemon.ctl_json(&["check", "192.0.2.1", "--port", "25"])["answers"][0]["connections_per_source"]
            .clone()
    };
    wait::holds_for("it stays", Duration::from_secs(9), || limit(&scene) == 5);
    assert_eq!(scene.connect(4), 2);
    scene.daemon.kill();
    scene.daemon.start_again();
    assert_eq!((limit(&scene), scene.connect(2)), (5.into(), 0));
    assert_eq!(scene.daemon.ctl(&["confirm"]).status.code(), Some(1), "nothing waits any more");
    scene.daemon.assert_sound();
}
