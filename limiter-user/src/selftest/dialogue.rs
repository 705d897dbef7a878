//! The client's side of what is said.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};

/// How long a connect, a banner or an answer may take.
pub(super) const TIME: Duration = Duration::from_secs(10);
/// One line of a long mail and of a long answer.
pub(super) const LINE: &str = "what a mail says in one of its many lines, as mails do it..";
/// How many make 256 KiB at least.
pub(super) const LINES: usize = 256 * 1024 / LINE.len() + 1;

/// What is expected of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// A mail to the sink and a long answer back.
    Mail,
    /// A banner, `EHLO` and `QUIT`.
    Smtp,
    /// A banner.
    Banner,
    /// A connection: what is said is said in TLS.
    Connect,
}

/// A dialogue that went wrong, and where.
#[derive(Debug)]
pub(super) struct Broken {
    /// What was waited for.
    pub(super) at: String,
    /// What came instead.
    pub(super) error: io::Error,
}

/// Holds a dialogue from the network namespace of this thread.
pub(super) fn hold(address: SocketAddr, manner: Manner) -> Result<(), Broken> {
    let broken = |at: &str| {
        let at = at.to_owned();
        move |error| Broken { at, error }
    };
    let stream = TcpStream::connect_timeout(&address, TIME).map_err(broken("the handshake"))?;
    let mut talk = Talk { lines: BufReader::new(&stream) };
    let held = Talk::limit(&stream).and_then(|()| match manner {
        Manner::Mail => talk.mail(),
        Manner::Smtp => talk.smtp(),
        Manner::Banner => talk.banner(),
        Manner::Connect => Ok(()),
    });
    if held.is_err() {
        // Nothing is sent any more, which would keep the namespace for minutes.
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(&stream, sockopt::Linger, &linger) {
            tracing::debug!(%error, "the namespace may outlive the selftest for a while");
        }
    }
    held
}

struct Talk<'a> {
    lines: BufReader<&'a TcpStream>,
}

impl Talk<'_> {
    fn limit(stream: &TcpStream) -> Result<(), Broken> {
        let limited = stream.set_read_timeout(Some(TIME)).and_then(|()| stream.set_write_timeout(Some(TIME)));
        limited.map_err(|error| Broken { at: "the handshake".to_owned(), error })
    }

    fn mail(&mut self) -> Result<(), Broken> {
        self.answer("220", "the banner")?;
        self.ask("EHLO selftest.invalid", "250")?;
        self.ask("MAIL FROM:<selftest@selftest.invalid>", "250")?;
        self.ask("RCPT TO:<selftest@selftest.invalid>", "250")?;
        self.ask("DATA", "354")?;
        let mail = format!("{LINE}\r\n").repeat(LINES) + ".\r\n";
        self.say(mail.as_bytes(), "256 KiB to it")?;
        self.answer("250", "the answer to 256 KiB")?;
        self.say(b"HELP\r\n", "HELP")?;
        self.answer("214", "256 KiB from it")?;
        self.ask("QUIT", "221")
    }

    fn smtp(&mut self) -> Result<(), Broken> {
        self.answer("220", "the banner")?;
        self.ask("EHLO selftest.invalid", "250")?;
        self.ask("QUIT", "221")
    }

    fn banner(&mut self) -> Result<(), Broken> {
        self.line("the banner").map(drop)
    }

    fn ask(&mut self, line: &str, code: &str) -> Result<(), Broken> {
        let word = line.split(' ').next().unwrap_or(line);
        self.say(format!("{line}\r\n").as_bytes(), word)?;
        self.answer(code, &format!("the answer to {word}"))
    }

    fn say(&mut self, text: &[u8], at: &str) -> Result<(), Broken> {
        let mut stream = *self.lines.get_ref();
        stream.write_all(text).map_err(|error| Broken { at: at.to_owned(), error })
    }

    /// Reads an answer to its last line.
    fn answer(&mut self, code: &str, at: &str) -> Result<(), Broken> {
        loop {
            let line = self.line(at)?;
            if !line.starts_with(code) {
                let error = io::Error::other(format!("it says `{}`", line.trim_end()));
                return Err(Broken { at: at.to_owned(), error });
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    fn line(&mut self, at: &str) -> Result<String, Broken> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).and_then(|length| {
            if length > 0 { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
        });
        read.map(|()| line).map_err(|error| Broken { at: at.to_owned(), error })
    }
}
