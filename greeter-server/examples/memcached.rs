//! A memcached server: the text protocol of memcached's `protocol.txt`, as far as clients use it.
//!
//! It shows counted bytes: values of up to 1 MiB that may hold anything, line endings too. And it
//! shows a bounded store that all clients share, and errors in the protocol's own words.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example memcached
//! printf 'set name 0 0 3\r\nBob\r\nget name\r\nquit\r\n' | nc 127.0.0.1 8080
//! memccapable -h 127.0.0.1 -p 8080 -a
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use greeter_server::{BoxError, Line, LineEnding, Peer, Rejection, Reply, Responder, Server};

const MAX_KEY_BYTES: usize = 250;
const MAX_VALUE_BYTES: usize = 1 << 20;
const MAX_STORE_BYTES: usize = 64 << 20;
/// What an item takes besides its key and its value, about.
const OVERHEAD: usize = 200;
/// No limit of the server bounds a single reply, and one `get` may ask for a value many times.
const MAX_REPLY_BYTES: usize = 16 << 20;

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    // No command takes long, so it needs no workers; and a `get` may name many keys.
    let builder = Server::builder().responder(Cache(Mutex::default())).in_place();
    let server = builder.line_ending(LineEnding::CrLf).max_line_bytes(64 << 10).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Cache(Mutex<Store>);

/// A command whose value is still to come.
struct Write {
    verb: Vec<u8>,
    key: Vec<u8>,
    flags: u32,
    expires: i64,
    /// Of `cas`: the version that it replaces.
    version: u64,
    is_quiet: bool,
}

impl Responder for Cache {
    type Session = Option<Write>;

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<Option<Write>, BoxError> {
        Ok(None)
    }

    fn respond(&self, write: &mut Option<Write>, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let words: Vec<&[u8]> = line.as_bytes().split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        match *words.as_slice() {
            [b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas", ..] => *write = announce(&words, reply),
            _ if words.iter().any(|word| word.len() > MAX_KEY_BYTES) => reply.line(BAD_FORMAT),
            [verb @ (b"get" | b"gets"), _, ..] => self.store().get(&words[1..], verb == b"gets", reply),
            [b"version"] => reply.line(concat!("VERSION ", env!("CARGO_PKG_VERSION"))),
            [b"stats"] => reply.line("END"),
            [b"quit"] => reply.close(),
            // Without a level, too.
            [b"verbosity", b"noreply"] => {}
            [ref words @ .., b"noreply"] if self.store().change(words).is_some() => {}
            _ => reply.line(self.store().change(&words).unwrap_or("ERROR".to_owned())),
        }
        Ok(())
    }

    fn bytes(&self, write: &mut Option<Write>, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let write = write.take().ok_or("no command has announced bytes")?;
        let answer = match bytes.strip_suffix(b"\r\n") {
            Some(value) => self.store().write(&write, value),
            None => "CLIENT_ERROR bad data chunk",
        };
        if !write.is_quiet {
            reply.line(answer);
        }
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        MAX_VALUE_BYTES + 2
    }

    fn reject(&self, _write: Option<&mut Option<Write>>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            // A client that keeps its connection would take this for its next answer.
            Rejection::IdleTimeout { .. } => {}
            Rejection::LineTooLong { .. } => reply.line("CLIENT_ERROR line too long"),
            rejection => reply.line(format_args!("SERVER_ERROR {rejection}")),
        }
    }
}

impl Cache {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the value of `<verb> <key> <flags> <exptime> <bytes> [<version>] [noreply]`.
fn announce(words: &[&[u8]], reply: &mut Reply<'_>) -> Option<Write> {
    let Some(bytes) = words.get(4).and_then(|word| number::<usize>(word)) else {
        // Nobody knows where the value ends, and it must not be taken for commands.
        reply.line("ERROR");
        reply.close();
        return None;
    };
    // The value ends as a line does.
    let bytes = bytes.saturating_add(2);
    let Some(write) = parse(words) else {
        reply.line(BAD_FORMAT);
        reply.skip_bytes(bytes as u64);
        return None;
    };
    if reply.read_bytes(bytes).is_err() && !write.is_quiet {
        reply.line(TOO_LARGE);
    }
    Some(write)
}

fn parse(words: &[&[u8]]) -> Option<Write> {
    let (words, is_quiet) = match words {
        [words @ .., b"noreply"] => (words, true),
        words => (words, false),
    };
    let (words, version) = match words {
        [words @ .., version] if words[0] == b"cas" => (words, number(version)?),
        words => (words, 0),
    };
    let [verb, key, flags, exptime, _] = *words else { return None };
    let (flags, expires) = (number(flags)?, expires(number(exptime)?));
    let is_short = key.len() <= MAX_KEY_BYTES;
    is_short.then(|| Write { verb: verb.into(), key: key.into(), flags, expires, version, is_quiet })
}

fn number<T: FromStr>(word: &[u8]) -> Option<T> {
    str::from_utf8(word).ok()?.parse().ok()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Up to 30 days are counted from now, and what is more from 1970; 0 is never.
fn expires(exptime: i64) -> i64 {
    match exptime {
        0 => i64::MAX,
        1..=2_592_000 => now() + exptime,
        time => time,
    }
}

#[derive(Default)]
struct Store {
    items: HashMap<Vec<u8>, Item>,
    /// What the items take, never more than [`MAX_STORE_BYTES`].
    bytes: usize,
    newest: u64,
}

struct Item {
    value: Vec<u8>,
    flags: u32,
    expires: i64,
    version: u64,
}

impl Store {
    /// Returns an item that has not expired.
    fn live(&mut self, key: &[u8]) -> Option<&mut Item> {
        if self.items.get(key)?.expires <= now() {
            self.remove(key);
        }
        self.items.get_mut(key)
    }

    fn get(&mut self, keys: &[&[u8]], with_version: bool, reply: &mut Reply<'_>) {
        let mut left = MAX_REPLY_BYTES;
        for &key in keys {
            let Some(Item { value, flags, version, .. }) = self.live(key) else { continue };
            // What would be too much is a miss, which a cache may have at any time.
            let Some(rest) = left.checked_sub(value.len()) else { continue };
            left = rest;
            let version = if with_version { format!(" {version}") } else { String::new() };
            reply.raw("VALUE ");
            reply.raw(key);
            reply.line(format_args!(" {flags} {}{version}", value.len()));
            reply.raw(value);
            reply.raw("\r\n");
        }
        reply.line("END");
    }

    /// Does what has no value and can be told not to answer. Returns none if it is no command.
    fn change(&mut self, words: &[&[u8]]) -> Option<String> {
        let answer = match *words {
            [b"delete", key] | [b"delete", key, b"0"] => match self.live(key) {
                Some(_) => self.remove(key),
                None => "NOT_FOUND",
            },
            [b"touch", key, exptime] => match (self.live(key), expires(number(exptime)?)) {
                (Some(item), expires) => {
                    item.expires = expires;
                    "TOUCHED"
                }
                (None, _) => "NOT_FOUND",
            },
            [b"incr", key, delta] => return Some(self.count(key, number(delta), u64::wrapping_add)),
            [b"decr", key, delta] => return Some(self.count(key, number(delta), u64::saturating_sub)),
            [b"flush_all"] | [b"flush_all", b"0"] => self.clear(),
            [b"verbosity", _level] => "OK",
            _ => return None,
        };
        Some(answer.to_owned())
    }

    fn count(&mut self, key: &[u8], delta: Option<u64>, step: fn(u64, u64) -> u64) -> String {
        let Some(delta) = delta else { return "CLIENT_ERROR invalid numeric delta argument".to_owned() };
        let Some(&mut Item { ref value, flags, expires, .. }) = self.live(key) else { return "NOT_FOUND".to_owned() };
        let Some(value) = number(value) else {
            return "CLIENT_ERROR cannot increment or decrement non-numeric value".to_owned();
        };
        let value = step(value, delta).to_string();
        self.put(key, value.clone().into(), flags, expires);
        value
    }

    fn write(&mut self, write: &Write, data: &[u8]) -> &'static str {
        let Write { verb, key, flags, expires, version, .. } = write;
        match (verb.as_slice(), self.live(key)) {
            (b"set", _) | (b"add", None) | (b"replace", Some(_)) => self.put(key, data.into(), *flags, *expires),
            (b"cas", Some(item)) if item.version == *version => self.put(key, data.into(), *flags, *expires),
            (b"cas", Some(_)) => "EXISTS",
            (b"cas", None) => "NOT_FOUND",
            (b"append" | b"prepend", Some(item)) if item.value.len() + data.len() > MAX_VALUE_BYTES => TOO_LARGE,
            (verb @ (b"append" | b"prepend"), Some(&mut Item { ref value, flags, expires, .. })) => {
                let value = if verb == b"append" { [value, data].concat() } else { [data, value].concat() };
                self.put(key, value, flags, expires)
            }
            _ => "NOT_STORED",
        }
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, flags: u32, expires: i64) -> &'static str {
        self.remove(key);
        let bytes = OVERHEAD + key.len() + value.len();
        // A cache may forget. This one is simple, and begins anew when it is full.
        if self.bytes + bytes > MAX_STORE_BYTES {
            self.clear();
        }
        self.bytes += bytes;
        self.newest += 1;
        self.items.insert(key.into(), Item { value, flags, expires, version: self.newest });
        "STORED"
    }

    fn remove(&mut self, key: &[u8]) -> &'static str {
        if let Some(item) = self.items.remove(key) {
            self.bytes -= OVERHEAD + key.len() + item.value.len();
        }
        "DELETED"
    }

    fn clear(&mut self) -> &'static str {
        *self = Self { newest: self.newest, ..Self::default() };
        "OK"
    }
}
