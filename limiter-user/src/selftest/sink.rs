//! The SMTP server in the namespace: takes a mail of any size, and answers `HELP` at length.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::{
    SelftestError,
    dialogue::{LINE, LINES, TIME},
    place::Place,
};

/// The port of SMTP.
pub(super) const SMTP: u16 = 25;

/// Starts a sink at each address of the namespace; they end with the process.
pub(super) fn start(place: &Place) -> Result<(), SelftestError> {
    for network in &place.networks {
        let address = SocketAddr::new(network.peer, SMTP);
        let listener = place.run(|| TcpListener::bind(address))?;
        let listener = listener.map_err(|e| SelftestError::failed(format!("listen on {address}"), e))?;
        thread::spawn(move || {
            // A client that breaks off is the client's to report.
            while let Ok((stream, _)) = listener.accept() {
                drop(serve(&stream));
            }
        });
    }
    Ok(())
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIME))?;
    stream.set_write_timeout(Some(TIME))?;
    let (mut lines, mut out) = (BufReader::new(stream), stream);
    out.write_all(b"220 selftest.invalid ESMTP\r\n")?;
    let (mut line, mut is_mail) = (String::new(), false);
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let word = line.trim_end();
        let answer: &[u8] = match word {
            "." if is_mail => {
                is_mail = false;
                b"250 2.0.0 taken\r\n"
            }
            _ if is_mail => continue,
            "DATA" => {
                is_mail = true;
                b"354 go on\r\n"
            }
            "HELP" => {
                out.write_all(&format!("214-{LINE}\r\n").repeat(LINES).into_bytes())?;
                b"214 that is all\r\n"
            }
            "QUIT" => return out.write_all(b"221 2.0.0 bye\r\n"),
            _ => b"250 2.0.0 well\r\n",
        };
        out.write_all(answer)?;
    }
}
