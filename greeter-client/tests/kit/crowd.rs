//! A server for a crowd.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use greeter_client::ServerAddress;

/// `Bob` → `Hello, Bob`, for so many clients, any number at a time. Whoever comes after them finds
/// nobody.
pub(crate) fn greeter_for(clients: usize) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    thread::spawn(move || {
        for stream in listener.incoming().take(clients) {
            let stream = stream.unwrap();
            thread::spawn(move || -> std::io::Result<()> {
                for line in BufReader::new(stream.try_clone()?).lines() {
                    (&stream).write_all(format!("Hello, {}\n", line?).as_bytes())?;
                }
                Ok(())
            });
        }
    });
    address
}
