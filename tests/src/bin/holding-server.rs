//! `holding-server ADDRESS...`: a server in a process of its own, to be killed.
//!
//! Accepts everything at each address, says nothing and keeps every connection.

use std::net::TcpListener;
use std::{env, thread};

fn main() {
    let listen = |address: String| {
        let listener = TcpListener::bind(&address).unwrap_or_else(|e| panic!("listening at {address}: {e}"));
        thread::spawn(move || {
            let held: Vec<_> = listener.incoming().collect();
            drop(held);
        })
    };
    let servers: Vec<_> = env::args().skip(1).map(listen).collect();
    println!("listening");
    for server in servers {
        server.join().expect("a listener accepts for ever");
    }
}
