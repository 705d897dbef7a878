//! Who is on the stage: networks, the mail server, and the clients' moves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use limiter_tests::mail::{self, Dialogue, Mail, POSTFIX, Postfix, Smtp};
use limiter_tests::netns::Namespace;
use limiter_tests::server::Server;
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wait;

use limiter_tests::screen::{Look, Screen};

/// Where mail servers listen.
pub(crate) const SMTP: u16 = 25;
/// How long Postfix may take to deliver what it accepted.
const DELIVERY_TIME: Duration = Duration::from_secs(10);

/// The clients, the network they are in, and the mail server.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    bed: &'a Bed,
    server: MailServer,
}

/// What answers on port 25.
#[derive(Debug)]
pub(crate) enum MailServer {
    Postfix(Postfix),
    /// Only greets; for machines without Postfix.
    Greeter {
        _server: Server,
    },
}

/// One connection attempt, from the client's side.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The connection, greeted; or why there is none.
    pub(crate) outcome: io::Result<Smtp>,
    pub(crate) took: Duration,
}

/// Builds the networks of the server, the balancer, two good clients and the greedy one.
pub(crate) fn networks(screen: Screen) -> Bed {
    screen.heading("The stage: private network namespaces, joined by veth pairs");
    let bed = Bed::plan().clients(4).build();
    for (client, who) in bed.clients.iter().zip(["balancer", "client A", "client B", "greedy"]) {
        let text = format!("{} and {} on {}", client.ipv4(), client.ipv6(), client.server_device());
        screen.say(who, Look::Plain, text);
    }
    bed
}

/// Where the names of the networks are.
pub(crate) fn names(bed: &Bed) -> Vec<PathBuf> {
    let clients = bed.clients.iter().map(|client| client.namespace.path());
    clients.chain([bed.server.path()]).collect()
}

impl MailServer {
    /// Starts Postfix, or what stands in for it.
    pub(crate) fn start(namespace: &Namespace, screen: Screen) -> Self {
        let missing: Vec<String> = POSTFIX.iter().filter_map(|need| need.missing()).collect();
        if missing.is_empty() {
            let postfix = Postfix::start(namespace, &[]);
            let text = format!("a private Postfix listens on port {SMTP} (pid {})", postfix.process().pid());
            screen.say("server", Look::Plain, text);
            return Self::Postfix(postfix);
        }
        let text = format!("{}: a server that only greets stands in", missing.join(", "));
        screen.say("server", Look::Bad, text);
        let anywhere: SocketAddr = ([0_u16; 8], SMTP).into();
        let plan = Server::plan(anywhere).dual_stack().banner(b"220 greeter of the demonstration\r\n");
        Self::Greeter { _server: plan.listen(namespace) }
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(bed: &'a Bed, server: MailServer) -> Self {
        Self { bed, server }
    }

    /// Whether whole mails can be sent.
    pub(crate) fn takes_mail(&self) -> bool {
        matches!(self.server, MailServer::Postfix(_))
    }

    pub(crate) fn balancer(&self) -> &Client {
        &self.bed.clients[0]
    }

    /// One client over IPv4 and one over IPv6, with the server's address for each.
    pub(crate) fn good(&self) -> [(&'static str, &Client, IpAddr); 2] {
        let (a, b) = (&self.bed.clients[1], &self.bed.clients[2]);
        [("client A", a, a.server_ipv4()), ("client B", b, b.server_ipv6())]
    }

    pub(crate) fn greedy(&self) -> &Client {
        &self.bed.clients[3]
    }

    /// Waits until that many mails are in the mailbox; says how many are.
    pub(crate) fn delivered(&self, wanted: usize) -> usize {
        let MailServer::Postfix(postfix) = &self.server else {
            return wanted;
        };
        let arrived = || postfix.mailbox().len();
        wait::until_some(DELIVERY_TIME, || (arrived() >= wanted).then_some(()));
        arrived()
    }
}

/// Connects over IPv4 and waits for the greeting.
pub(crate) fn connect(client: &Client) -> Attempt {
    let began = Instant::now();
    let outcome =
        Smtp::connect(&client.namespace, (client.server_ipv4(), SMTP).into()).and_then(|mut smtp| {
            smtp.reply()?;
            Ok(smtp)
        });
    Attempt { outcome, took: began.elapsed() }
}

/// Sends a mail, or only asks for the greeting where nobody would take the mail.
pub(crate) fn send(stage: &Stage<'_>, client: &Client, server: IpAddr, subject: &str) -> Dialogue {
    if stage.takes_mail() {
        return mail::send(&client.namespace, server, &Mail::new(subject));
    }
    let greeting = Smtp::connect(&client.namespace, (server, SMTP).into()).and_then(|mut smtp| smtp.reply());
    match greeting {
        Ok(reply) => Dialogue { replies: vec![reply], error: None },
        Err(e) => Dialogue { replies: Vec::new(), error: Some(e.kind()) },
    }
}

/// Whether the server took what [`send`] sent.
pub(crate) fn is_accepted(stage: &Stage<'_>, dialogue: &Dialogue) -> bool {
    dialogue.error.is_none() && (dialogue.accepted() || !stage.takes_mail())
}
