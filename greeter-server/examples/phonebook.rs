//! A phone book in SQLite: what many clients look up is one statement, and what they write down is
//! one transaction.
//!
//! It shows lines that are answered in batches. A transaction is on the disk before its clients
//! read `ok`, and that takes as long for one line as for many.
//!
//! ```sh
//! # An address, a file and the most lines of a batch are optional:
//! # -- 127.0.0.1:7000 phonebook.db 256
//! cargo run --release -p greeter-server --example phonebook
//! # Type: set Bob 555-0102, then: get Bob
//! nc 127.0.0.1 8080
//! # What a batch is worth, if the last argument is 1 and then 256. What does not change, SQLite
//! # does not write; hence two lines.
//! cargo run --release -p greeter-client -- load --connections 256 --expect ok \
//!     --line 'set guest{{#}} 1' --line 'set guest{{#}} 2'
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::HashMap;
use std::num::NonZero;
use std::time::Duration;

use greeter_server::{Asked, Batcher, BoxError, Line, Peer, Rejection, Reply, Responder, Server};
use rusqlite::{Connection, params_from_iter};

/// How many lines are a batch at most.
const MAX_LINES: NonZero<usize> = NonZero::new(256).expect("it is not zero");
/// How long a batch waits for another program that writes to the file: not as long as a line may
/// wait for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Readers do not wait for the writer (`wal`), and a commit is on the disk (`full`). Clients do not
/// fill the disk: so many pages of 4 KiB are all there are.
const SETUP: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = full;
    PRAGMA max_page_count = 100000;
    CREATE TABLE IF NOT EXISTS phonebook (name TEXT PRIMARY KEY, number TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT OR IGNORE INTO phonebook VALUES ('Ann', '555-0100'), ('Zoe', '555-0199');
";

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let file = std::env::args().nth(2).unwrap_or("phonebook.db".into());
    let max_lines = std::env::args().nth(3).map_or(Ok(MAX_LINES), |lines| lines.parse())?.get();
    let mut writer = open(&file)?;
    let reader = open(&file)?;
    let phonebook = Phonebook {
        sets: Batcher::spawn(max_lines, move |batch| write_down(&mut writer, batch))?,
        gets: Batcher::spawn(max_lines, move |batch| look_up(&reader, batch))?,
    };
    // No workers: the responder never waits.
    let server = Server::builder().responder(phonebook).in_place().bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

fn open(file: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch(SETUP)?;
    Ok(connection)
}

struct Phonebook {
    gets: Batcher<String>,
    sets: Batcher<Entry>,
}

struct Entry {
    name: String,
    number: String,
}

impl Responder for Phonebook {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Checks the line, so that no batch fails for what one client says.
    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match *line.to_str()?.split(' ').collect::<Vec<_>>() {
            ["get", name] => self.gets.ask(name.to_owned(), reply),
            ["set", name, number] => {
                self.sets.ask(Entry { name: name.to_owned(), number: number.to_owned() }, reply);
            }
            _ => return Err(Rejection::custom("say get NAME, or set NAME NUMBER").into()),
        }
        Ok(())
    }
}

fn look_up(phonebook: &Connection, batch: Vec<Asked<String>>) {
    let found = find(phonebook, &batch);
    for Asked { question: name, later } in batch {
        match found.as_ref().map(|found| found.get(&name)) {
            Ok(Some(number)) => later.line(number),
            Ok(None) => later.reject(Rejection::custom("no such name")),
            Err(error) => later.fail(format!("cannot look it up: {error}")),
        }
    }
}

/// Looks up all names of a batch by one statement.
fn find(phonebook: &Connection, batch: &[Asked<String>]) -> rusqlite::Result<HashMap<String, String>> {
    let places = vec!["?"; batch.len()].join(", ");
    let mut select = phonebook.prepare(&format!("SELECT name, number FROM phonebook WHERE name IN ({places})"))?;
    let names = params_from_iter(batch.iter().map(|asked| &asked.question));
    select.query_map(names, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn write_down(phonebook: &mut Connection, batch: Vec<Asked<Entry>>) {
    let stored = store(phonebook, &batch);
    for Asked { later, .. } in batch {
        match &stored {
            Ok(()) => later.line("ok"),
            Err(error) => later.fail(format!("not written down: {error}")),
        }
    }
}

/// Stores all entries of a batch, or none of them.
fn store(phonebook: &mut Connection, batch: &[Asked<Entry>]) -> rusqlite::Result<()> {
    let transaction = phonebook.transaction()?;
    let mut replace = transaction.prepare("REPLACE INTO phonebook VALUES (?, ?)")?;
    for Asked { question: Entry { name, number }, .. } in batch {
        replace.execute((name, number))?;
    }
    drop(replace);
    transaction.commit()
}
