//! A private Postfix, and what speaks SMTP to it.
//!
//! Debian's own binaries with a configuration, a queue and a mailbox in a
//! temporary directory, in a network namespace of the test's. No name is ever
//! looked up. The machine's own Postfix, if there is one, is not touched.

mod smtp;

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{User, chown};
use tempfile::TempDir;

pub use smtp::{Dialogue, Mail, Reply, Smtp};

use crate::host::{self, Requirement};
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait;

/// What [`Postfix::start`] needs beside a bed.
pub const POSTFIX: &[Requirement] = &[Requirement::Command("postfix", "postfix")];

/// The domain whose mail is delivered.
pub const DOMAIN: &str = "example.test";

/// How long Postfix may take to start.
const START_TIME: Duration = Duration::from_secs(20);
const STOP_TIME: Duration = Duration::from_secs(10);

/// Directories of the queue that Postfix does not create by itself.
const QUEUES: [&str; 14] = [
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "pid",
    "private", "public", "saved", "trace",
];

/// The services that accept, queue and deliver mail, none of them chrooted.
const MASTER_CF: &str = "\
smtp      inet  n - n - -   smtpd
pickup    unix  n - n 60 1  pickup
cleanup   unix  n - n - 0   cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - -   trivial-rewrite
bounce    unix  - - n - 0   bounce
defer     unix  - - n - 0   bounce
trace     unix  - - n - 0   bounce
verify    unix  - - n - 1   verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - -   proxymap
smtp      unix  - - n - -   smtp
showq     unix  n - n - -   showq
error     unix  - - n - -   error
retry     unix  - - n - -   error
discard   unix  - - n - -   discard
local     unix  - n n - -   local
virtual   unix  - n n - -   virtual
anvil     unix  - - n - 1   anvil
scache    unix  - - n - 1   scache
postlog   unix-dgram n - n - 1 postlogd
";

/// A running Postfix that accepts mail for [`DOMAIN`] and delivers it to one mailbox.
#[derive(Debug)]
pub struct Postfix {
    process: Process,
    directory: TempDir,
}

impl Postfix {
    /// Starts Postfix on port 25 of `namespace`; `settings` are added to `main.cf`.
    ///
    /// Returns when it listens.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &Namespace, settings: &[(&str, &str)]) -> Self {
        Self::start_in(&std::env::temp_dir(), namespace, settings)
    }

    /// Does the same with its queue below `base`.
    #[must_use]
    #[track_caller]
    pub fn start_in(base: &Path, namespace: &Namespace, settings: &[(&str, &str)]) -> Self {
        let directory = TempDir::with_prefix_in("limiter-postfix-", base).expect("creating a directory");
        let path = directory.path();
        // Its processes run as another user and have to pass.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opening the directory");
        let user =
            User::from_name("postfix").expect("reading the users").expect("the package creates its user");
        for name in ["config", "queue", "data", "mail"] {
            fs::create_dir(path.join(name)).expect("creating a directory");
        }
        for name in ["data", "mail"] {
            chown(&path.join(name), Some(user.uid), None).expect("giving a directory away");
        }
        let config = path.join("config");
        fs::write(config.join("master.cf"), MASTER_CF).expect("writing master.cf");
        fs::write(config.join("main.cf"), main_cf(path, user.uid.as_raw(), settings))
            .expect("writing main.cf");
        // Not `postfix check`, which takes seconds to create them.
        for name in QUEUES {
            let queue = path.join("queue").join(name);
            fs::create_dir(&queue).expect("creating a queue");
            chown(&queue, Some(user.uid), None).expect("giving a queue away");
        }
        // Not `postfix start-fg`: its shell stays in between and does not pass signals on.
        let daemons = host::run(namespace.command("postconf").args(["-d", "-h", "daemon_directory"]));
        let master = format!("{}/master", daemons.trim_end());
        let process = Process::start("postfix", namespace.command(&master).arg("-c").arg(&config).arg("-s"));
        let postfix = Self { process, directory };
        wait::until("postfix listens", START_TIME, || {
            assert!(postfix.process.exit_status().is_none(), "postfix ended:\n{}", postfix.log());
            namespace.listens(25)
        });
        postfix
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The mails delivered so far.
    #[must_use]
    pub fn mailbox(&self) -> Vec<String> {
        let arrived = fs::read_dir(self.directory.path().join("mail/inbox/new"));
        let files = arrived.into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
    }

    /// Waits until `count` mails are delivered.
    #[track_caller]
    pub fn wait_delivered(&self, count: usize, deadline: Duration) {
        wait::until_eq("the number of delivered mails", &count, deadline, || self.mailbox().len());
    }

    /// The process of its master.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it and waits for the end.
    #[track_caller]
    pub fn stop(self) {
        self.process.stop(STOP_TIME);
    }
}

fn main_cf(directory: &Path, uid: u32, settings: &[(&str, &str)]) -> String {
    let at = directory.display();
    let mut text = format!(
        "compatibility_level = 3.6\n\
         maillog_file = /dev/stdout\n\
         queue_directory = {at}/queue\n\
         data_directory = {at}/data\n\
         myhostname = mail.{DOMAIN}\n\
         mydestination =\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = all\n\
         inet_protocols = all\n\
         alias_maps =\n\
         alias_database =\n\
         local_recipient_maps =\n\
         smtpd_peername_lookup = no\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_error_sleep_time = 0\n\
         smtp_dns_support_level = disabled\n\
         virtual_mailbox_domains = {DOMAIN}\n\
         virtual_mailbox_base = {at}/mail\n\
         virtual_mailbox_maps = static:inbox/\n\
         virtual_uid_maps = static:{uid}\n\
         virtual_gid_maps = static:{uid}\n\
         virtual_minimum_uid = {uid}\n"
    );
    for (name, value) in settings {
        writeln!(text, "{name} = {value}").expect("writing to a string succeeds");
    }
    text
}

/// Sends one mail and returns the whole dialogue, however it ends.
#[must_use]
pub fn send(namespace: &Namespace, server: IpAddr, mail: &Mail) -> Dialogue {
    smtp::send(namespace, (server, 25).into(), mail)
}
