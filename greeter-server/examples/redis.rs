//! A Redis server: strings, by the protocol's arrays (`*1\r\n$4\r\nPING\r\n`) and by its lines
//! (`PING\r\n`).
//!
//! It shows a session that puts a command together from lines and counted bytes, which may be any,
//! and a bounded store that all clients share.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run --release -p greeter-server --example redis
//! redis-cli -p 8080 set name Bob
//! redis-benchmark -p 8080 -P 16 -t ping_inline,ping_mbulk,set,get -n 100000 -q
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::HashMap;
use std::mem;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use greeter_server::{BoxError, Line, LineEnding, Peer, Rejection, Reply, Responder, Server};

/// What the words of a command may take together, and so what a client may make its session hold.
const MAX_COMMAND_BYTES: usize = 1 << 20;
const MAX_WORDS: usize = 1024;
const MAX_STORE_BYTES: usize = 64 << 20;
/// What a pair takes besides its key and its value, about.
const OVERHEAD: usize = 100;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let redis = Redis(Mutex::default());
    // No command takes long, so it needs no workers. What sessions hold, only the number of clients
    // bounds.
    let builder = Server::builder().responder(redis).in_place().line_ending(LineEnding::CrLf).max_connections(256);
    let server = builder.bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Redis(Mutex<Store>);

/// A command that is still to come in whole.
#[derive(Default)]
struct Command {
    words: Vec<Vec<u8>>,
    bytes: usize,
    /// How many words are missing.
    missing: usize,
}

impl Responder for Redis {
    type Session = Command;

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<Command, BoxError> {
        Ok(Command::default())
    }

    fn respond(&self, command: &mut Command, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.as_bytes() {
            // The length of the next word.
            [b'$', length @ ..] if command.missing > 0 => match parse::<usize>(length) {
                Some(length) if command.bytes.saturating_add(length) <= MAX_COMMAND_BYTES => {
                    command.bytes += length;
                    // The word ends as a line does.
                    reply.read_bytes(length + 2)?;
                }
                _ => end("invalid bulk length", reply),
            },
            _ if command.missing > 0 => end("expected '$'", reply),
            [b'*', words @ ..] => match parse::<i64>(words).map(usize::try_from) {
                Some(Ok(words @ ..=MAX_WORDS)) => command.missing = words,
                Some(Err(_)) => {}
                _ => end("invalid multibulk length", reply),
            },
            // Words between spaces; quotes mean nothing.
            line => {
                command.words = line.split(u8::is_ascii_whitespace).map(<[u8]>::to_vec).collect();
                command.words.retain(|word| !word.is_empty());
                self.run(command, reply);
            }
        }
        Ok(())
    }

    fn bytes(&self, command: &mut Command, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let Some(word) = bytes.strip_suffix(b"\r\n") else {
            end("a bulk string does not end where it said", reply);
            return Ok(());
        };
        command.words.push(word.to_vec());
        command.missing -= 1;
        if command.missing == 0 {
            self.run(command, reply);
        }
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        MAX_COMMAND_BYTES + 2
    }

    fn reject(&self, _command: Option<&mut Command>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            // A client that keeps its connection would take this for its next answer.
            Rejection::IdleTimeout { .. } => {}
            rejection => reply.line(format_args!("-ERR {rejection}")),
        }
    }
}

impl Redis {
    /// Runs a command that is there in whole, and makes room for the next one.
    fn run(&self, command: &mut Command, reply: &mut Reply<'_>) {
        if let Some((name, words)) = command.words.split_first_mut() {
            name.make_ascii_uppercase();
            let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = store.run(name, words, reply) {
                reply.line(format_args!("-{error}"));
            }
        }
        command.words.clear();
        command.bytes = 0;
    }
}

#[derive(Default)]
struct Store {
    pairs: HashMap<Vec<u8>, Vec<u8>>,
    /// What the pairs take, never more than [`MAX_STORE_BYTES`].
    bytes: usize,
}

impl Store {
    /// Writes the reply, or returns the error that it is.
    fn run(&mut self, name: &[u8], words: &mut [Vec<u8>], reply: &mut Reply<'_>) -> Result<(), String> {
        match (name, &mut *words) {
            (b"PING", []) => reply.line("+PONG"),
            (b"PING" | b"ECHO", [word]) => bulk(Some(word), reply),
            (b"SET", [key, value]) => {
                self.set(key, value)?;
                reply.line("+OK");
            }
            (b"GET", [key]) => bulk(self.pairs.get(key), reply),
            (b"DEL", keys @ [_, ..]) => {
                let deleted = keys.iter().filter(|key| self.remove(key)).count();
                reply.line(format_args!(":{deleted}"));
            }
            (b"EXISTS", keys @ [_, ..]) => {
                let there = keys.iter().filter(|key| self.pairs.contains_key(*key)).count();
                reply.line(format_args!(":{there}"));
            }
            (b"INCR", [key]) => reply.line(format_args!(":{}", self.add(key, Some(1))?)),
            (b"INCRBY", [key, number]) => reply.line(format_args!(":{}", self.add(key, parse(number))?)),
            (b"SELECT", [index]) if index == b"0" => reply.line("+OK"),
            (b"SELECT", [_]) => return Err("ERR DB index is out of range".to_owned()),
            // What tools ask before they begin.
            (b"COMMAND", _) => reply.line("*0"),
            (b"CONFIG", [get, option]) if get.eq_ignore_ascii_case(b"GET") => {
                reply.line("*2");
                bulk(Some(option), reply);
                bulk(Some(&Vec::new()), reply);
            }
            (b"CLIENT", [what, ..]) if what.eq_ignore_ascii_case(b"SETINFO") => reply.line("+OK"),
            (b"QUIT", _) => {
                reply.line("+OK");
                reply.close();
            }
            // As servers answer HELLO that speak no version but 2. What is escaped cannot break the
            // line.
            _ => {
                let name = name[..name.len().min(128)].escape_ascii();
                return Err(format!("ERR unknown command '{name}', or not with {} words", words.len()));
            }
        }
        Ok(())
    }

    /// Takes the key and the value, and leaves nothing of them.
    fn set(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<(), String> {
        let old = self.pairs.get(key).map_or(0, |old| OVERHEAD + key.len() + old.len());
        let bytes = self.bytes - old + OVERHEAD + key.len() + value.len();
        if bytes > MAX_STORE_BYTES {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".to_owned());
        }
        self.bytes = bytes;
        self.pairs.insert(mem::take(key), mem::take(value));
        Ok(())
    }

    fn add(&mut self, key: &mut Vec<u8>, number: Option<i64>) -> Result<i64, String> {
        let old = self.pairs.get(key).map_or(Some(0), |value| parse::<i64>(value));
        let (Some(old), Some(number)) = (old, number) else {
            return Err("ERR value is not an integer or out of range".to_owned());
        };
        let new = old.checked_add(number).ok_or("ERR increment or decrement would overflow")?;
        self.set(key, &mut new.to_string().into())?;
        Ok(new)
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let old = self.pairs.remove(key);
        self.bytes -= old.as_ref().map_or(0, |old| OVERHEAD + key.len() + old.len());
        old.is_some()
    }
}

fn bulk(bytes: Option<&Vec<u8>>, reply: &mut Reply<'_>) {
    let Some(bytes) = bytes else { return reply.line("$-1") };
    reply.line(format_args!("${}", bytes.len()));
    reply.raw(bytes);
    reply.raw("\r\n");
}

/// Ends the connection, as Redis does, since nobody knows where the next command begins.
fn end(reason: &str, reply: &mut Reply<'_>) {
    reply.line(format_args!("-ERR Protocol error: {reason}"));
    reply.close();
}

fn parse<T: FromStr>(word: &[u8]) -> Option<T> {
    // Rust reads `+1` as a number, too. What two programs read in two ways, somebody will abuse.
    str::from_utf8(word).ok().filter(|word| !word.starts_with('+'))?.parse().ok()
}
