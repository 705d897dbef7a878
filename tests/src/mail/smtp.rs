//! The client's half of a minimal SMTP dialogue (RFC 5321).

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::DOMAIN;
use crate::netns::Namespace;

/// How long the server may take for each reply.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// No server of a test says more in one reply.
const REPLY_LINES_MAX: usize = 50;

/// One reply: its code and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text behind them, line by line.
    pub lines: Vec<String>,
}

/// A mail to one recipient.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipient.
    pub to: String,
    /// Headers and text, lines ended by CR LF, without the final dot.
    pub text: String,
}

/// An SMTP dialogue as far as it got.
#[derive(Debug)]
pub struct Dialogue {
    /// The replies, the greeting first.
    pub replies: Vec<Reply>,
    /// What ended it early: `ConnectionRefused`, `ConnectionReset`, `WouldBlock` for a time-out.
    pub error: Option<io::ErrorKind>,
}

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Mail {
    /// A short mail to somebody at [`DOMAIN`], with this subject.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        Self {
            from: "sender@example.org".to_owned(),
            to: format!("inbox@{DOMAIN}"),
            text: format!("From: sender@example.org\r\nSubject: {subject}\r\n\r\nHello.\r\n"),
        }
    }
}

impl Dialogue {
    /// The codes of all replies.
    #[must_use]
    pub fn codes(&self) -> Vec<u16> {
        self.replies.iter().map(|reply| reply.code).collect()
    }

    /// Whether the server took the mail and said goodbye.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.error.is_none() && self.codes() == [220, 250, 250, 250, 354, 250, 221]
    }
}

impl Smtp {
    /// Connects from `namespace`; the greeting is the first [`Self::reply`].
    ///
    /// # Errors
    ///
    /// Refused, reset or timed out, as the kernel says.
    pub fn connect(namespace: &Namespace, server: SocketAddr) -> io::Result<Self> {
        let stream = namespace.run(|| TcpStream::connect_timeout(&server, REPLY_TIME))?;
        stream.set_read_timeout(Some(REPLY_TIME))?;
        stream.set_write_timeout(Some(REPLY_TIME))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Reads one reply.
    ///
    /// # Errors
    ///
    /// The connection's end or a time-out; `InvalidData` if it is not SMTP.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        for _ in 0..REPLY_LINES_MAX {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (Some(code), text) = (code, line.get(4..).unwrap_or_default()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, line.to_owned()));
            };
            lines.push(text.to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without an end"))
    }

    /// Sends lines and reads the reply to them.
    ///
    /// # Errors
    ///
    /// As [`Self::reply`].
    pub fn command(&mut self, text: &str) -> io::Result<Reply> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        self.reply()
    }
}

pub(super) fn send(namespace: &Namespace, server: SocketAddr, mail: &Mail) -> Dialogue {
    let mut replies = Vec::new();
    let error = converse(namespace, server, mail, &mut replies).err().map(|e| e.kind());
    Dialogue { replies, error }
}

fn converse(
    namespace: &Namespace,
    server: SocketAddr,
    mail: &Mail,
    replies: &mut Vec<Reply>,
) -> io::Result<()> {
    let mut smtp = Smtp::connect(namespace, server)?;
    replies.push(smtp.reply()?);
    let commands = [
        "EHLO client.example.org",
        &format!("MAIL FROM:<{}>", mail.from),
        &format!("RCPT TO:<{}>", mail.to),
        "DATA",
        &format!("{}.", mail.text),
        "QUIT",
    ];
    for command in commands {
        let reply = smtp.command(command)?;
        let refused = reply.code >= 400;
        replies.push(reply);
        // A refused command leaves the rest pointless; the server knows without a QUIT.
        if refused {
            break;
        }
    }
    Ok(())
}
