//! A server that says to each line what it was told to say to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use greeter_client::ServerAddress;

/// What is said to a line: bytes as they are; `close` ends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Says {
    pub(crate) bytes: Vec<u8>,
    pub(crate) close: bool,
    /// The same bytes go to this connection, which has sent a line that starts with the name.
    pub(crate) tells: Option<&'static str>,
}

impl Says {
    pub(crate) fn lines(lines: &[&str]) -> Self {
        Self { bytes: lines.iter().map(|line| format!("{line}\n")).collect::<String>().into(), ..Self::default() }
    }
}

/// Starts a server for as long as the test runs. The empty line is what it says when somebody
/// connects, and `eof` what it says to the client's end. `{n}` in a reply is the number in the
/// line.
pub(crate) fn puppet(table: BTreeMap<String, Says>) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let table = Arc::new(table);
    let known: Arc<Mutex<BTreeMap<String, TcpStream>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (table, known) = (Arc::clone(&table), Arc::clone(&known));
            thread::spawn(move || talk(stream.unwrap(), &table, &known));
        }
    });
    address
}

fn talk(mut stream: TcpStream, table: &BTreeMap<String, Says>, known: &Mutex<BTreeMap<String, TcpStream>>) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut is_open = say(&mut stream, table.get(""), "", known);
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|count| count > 0) {
        let text = line.trim_end().to_owned();
        line.clear();
        let who = text.split(' ').next().unwrap_or_default().to_owned();
        known.lock().unwrap().insert(who, stream.try_clone().unwrap());
        // What comes after the end is read all the same, so that nobody sees a reset.
        let number: String = text.chars().filter(char::is_ascii_digit).collect();
        let says = table.get(&text).or_else(|| table.get(&text.replace(&number, "{n}")));
        is_open = is_open && say(&mut stream, says, &number, known);
    }
    if is_open {
        say(&mut stream, table.get("eof"), "", known);
    }
    // The handles that others know of it must not keep it open.
    let _ = stream.shutdown(Shutdown::Write);
}

/// Says something, and whether more may follow.
fn say(stream: &mut TcpStream, says: Option<&Says>, number: &str, known: &Mutex<BTreeMap<String, TcpStream>>) -> bool {
    let Some(says) = says else { return true };
    let bytes = match std::str::from_utf8(&says.bytes) {
        Ok(text) => text.replace("{n}", number).into_bytes(),
        Err(_) => says.bytes.clone(),
    };
    let _ = stream.write_all(&bytes);
    if let Some(other) = says.tells.and_then(|name| known.lock().unwrap().get(name)?.try_clone().ok()) {
        let _ = (&other).write_all(&bytes);
    }
    if says.close {
        let _ = stream.shutdown(Shutdown::Write);
    }
    !says.close
}
