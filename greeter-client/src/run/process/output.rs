//! Reads what a server prints, whoever of its processes prints it, for as long as one of them may:
//! hands it on as it comes, and remembers the last of it. However much that is, it costs no more
//! memory than a line.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr;

use crate::net::escape::one_line;
use crate::talk::{SecretStream, Secrets};

/// What a server says on stdout once it listens; its address follows.
const READY: &[u8] = b"listening on ";

/// The longest line in which it can say so. No address is longer.
const MAX_READY_BYTES: usize = 4096;

/// How many of its last lines are told, and how many bytes of each.
const MAX_LINES: usize = 10;
const MAX_LINE_BYTES: usize = 200;

/// How many bytes are remembered: enough for so many lines.
const TAIL_BYTES: usize = MAX_LINES * 1024;

const CHUNK_BYTES: usize = 16 * 1024;

/// The last lines that a server has written to stderr. Displayed, each stands in a line of its own,
/// escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLines(Vec<Vec<u8>>);

impl LastLines {
    /// Returns an iterator over the lines, without their endings.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Masks what was no secret yet when it came.
    pub(crate) fn mask(&mut self, secrets: &Secrets) {
        self.0.iter_mut().for_each(|line| *line = secrets.mask(line).into_owned());
    }

    fn of(tail: &[u8], is_cut: bool) -> Self {
        let text = tail.strip_suffix(b"\n").unwrap_or(tail);
        // Of the first one, the start may be missing.
        let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').skip(usize::from(is_cut)).collect();
        let lines = if text.is_empty() { &[] } else { &lines[lines.len().saturating_sub(MAX_LINES)..] };
        Self(lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect())
    }
}

impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.iter().enumerate() {
            let before = if number > 0 { "\n" } else { "" };
            let (shown, more) = match line.get(..MAX_LINE_BYTES) {
                Some(start) if line.len() > MAX_LINE_BYTES => (start, "…"),
                _ => (&line[..], ""),
            };
            write!(f, "{before}{}{more}", one_line(shown))?;
        }
        Ok(())
    }
}

/// A pipe that is read to its end, by a thread of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputReader(Arc<ReaderShared>);

#[derive(Debug, Default)]
struct ReaderShared {
    state: Mutex<ReaderState>,
    changed: Condvar,
    /// What is masked in all that comes from now on.
    secrets: Mutex<Secrets>,
}

#[derive(Debug, Default)]
struct ReaderState {
    reader: ReaderActivity,
    tail: Vec<u8>,
    is_cut: bool,
}

/// What the thread is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReaderActivity {
    /// Nobody can print any more; or there is no pipe.
    #[default]
    FinishedScript,
    Waiting,
    /// It hands on what it has read, and waits for whoever takes that.
    HandingOn,
}

impl OutputReader {
    /// Masks these secrets, too, in what comes from now on.
    pub(super) fn hide(&self, secrets: &Secrets) {
        self.lock_secrets().extend(secrets);
    }

    /// Reads `pipe` from now on; `take` gets what comes, without secrets, and is dropped at the
    /// end.
    pub(super) fn start(
        &self,
        name: &str,
        mut pipe: impl Read + Send + 'static,
        mut take: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<()> {
        let drain = self.clone();
        self.enter(ReaderActivity::Waiting);
        let read = move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut stream = SecretStream::default();
            let mut show = |bytes: &[u8]| {
                drain.remember(bytes);
                take(bytes);
            };
            loop {
                match pipe.read(&mut chunk) {
                    Ok(count @ 1..) => {
                        let bytes = stream.take(&drain.lock_secrets(), &chunk[..count]);
                        show(&bytes);
                        drain.enter(ReaderActivity::Waiting);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                }
            }
            show(&stream.finish(&drain.lock_secrets()));
            drop(take);
            drain.enter(ReaderActivity::FinishedScript);
        };
        let started = thread::Builder::new().name(name.to_owned()).spawn(read);
        started.map(drop).inspect_err(|_| self.enter(ReaderActivity::FinishedScript))
    }

    /// Waits until nobody can print any more, but not beyond `deadline`. False: somebody still can.
    pub(super) fn ends_by(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let has_not_ended = |state: &mut ReaderState| state.reader != ReaderActivity::FinishedScript;
        let waited = self.0.changed.wait_timeout_while(self.lock(), left, has_not_ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // Who waits for a reader of ours cannot tell, and it is none of the server's faults.
        state.reader != ReaderActivity::Waiting
    }

    /// The last lines, once nobody can add to them any more, or has not within this time.
    pub(super) fn last_lines(&self, within: Duration) -> LastLines {
        self.ends_by(Instant::now() + within);
        let state = self.lock();
        LastLines::of(&state.tail, state.is_cut)
    }

    fn remember(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.reader = ReaderActivity::HandingOn;
        let bytes = if let Some(start) = bytes.len().checked_sub(TAIL_BYTES) {
            state.is_cut |= start > 0 || !state.tail.is_empty();
            state.tail.clear();
            &bytes[start..]
        } else {
            bytes
        };
        let excess = (state.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        state.is_cut |= excess > 0;
        state.tail.drain(..excess);
        state.tail.extend_from_slice(bytes);
    }

    fn lock_secrets(&self) -> MutexGuard<'_, Secrets> {
        self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, reader: ReaderActivity) {
        self.lock().reader = reader;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, ReaderState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints on our own stderr what a server prints on its. Where that is closed, the server must not
/// notice.
pub(super) fn pass_on(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// Finds the line in which a server says where it listens.
#[derive(Debug, Default)]
pub(super) struct ReadyLine {
    /// What has come of a line.
    begun: Vec<u8>,
    /// It is longer than any that is looked for.
    is_too_long: bool,
}

impl ReadyLine {
    /// Takes what comes, up to the line. Tells the address, as text.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Option<String> {
        while let Some(lf) = memchr(b'\n', bytes) {
            self.begin(&bytes[..lf]);
            bytes = &bytes[lf + 1..];
            let line = std::mem::take(self).begun;
            if let Some(address) = line.strip_prefix(READY) {
                return Some(String::from_utf8_lossy(address).trim_end().to_owned());
            }
        }
        self.begin(bytes);
        None
    }

    fn begin(&mut self, bytes: &[u8]) {
        self.is_too_long |= self.begun.len() + bytes.len() > MAX_READY_BYTES;
        if self.is_too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_in(pieces: &[&[u8]]) -> Option<String> {
        let mut line = ReadyLine::default();
        pieces.iter().find_map(|piece| {
            let found = line.take(piece);
            assert!(line.begun.capacity() <= 2 * MAX_READY_BYTES);
            found
        })
    }

    #[test]
    fn the_ready_line_is_found_however_it_comes() {
        let text = b"starting\nlistening on 127.0.0.1:7 \r\nlistening on 127.0.0.1:8\n";
        for cut in 0..=text.len() {
            let (one, other) = text.split_at(cut);
            assert_eq!(address_in(&[one, other]).as_deref(), Some("127.0.0.1:7"), "cut at {cut}");
        }
        assert_eq!(address_in(&[b" listening on x\nnot listening on x\nlistening on x"]), None);
    }

    #[test]
    fn a_line_without_end_costs_nothing_and_is_not_the_ready_line() {
        let chunk = [b'x'; CHUNK_BYTES];
        let mut pieces: Vec<&[u8]> = vec![b"listening on "];
        pieces.extend(std::iter::repeat_n(&chunk[..], 1000));
        pieces.extend([&b"\nlistening on a:1\n"[..]]);
        assert_eq!(address_in(&pieces).as_deref(), Some("a:1"));
    }

    #[track_caller]
    fn remembers(pieces: &[&[u8]], lines: &str) {
        let drain = OutputReader::default();
        pieces.iter().for_each(|piece| drain.remember(piece));
        drain.enter(ReaderActivity::FinishedScript);
        assert!(drain.lock().tail.len() <= TAIL_BYTES);
        assert_eq!(drain.last_lines(Duration::ZERO).to_string(), lines);
    }

    #[test]
    fn the_last_lines_are_remembered_and_no_more() {
        remembers(&[], "");
        remembers(&[b"\n"], "");
        remembers(&[b"one\ntw", b"o\r\n"], "one\ntwo");
        remembers(&[b"\x1b[2J\xff\n"], r"\e[2J\xff");
        let many: String = (1..=20_000).map(|line| format!("{line}\n")).collect();
        let last: Vec<String> = (19_991..=20_000).map(|line| line.to_string()).collect();
        remembers(&[many.as_bytes()], &last.join("\n"));
        remembers(&many.as_bytes().chunks(7).collect::<Vec<_>>(), &last.join("\n"));
        // Of what never ends there is the last, and of what is long the first.
        remembers(&[&[b'x'; 3 * TAIL_BYTES], b"\nend"], "end");
        remembers(&[&[b'x'; 1000]], &format!("{}…", "x".repeat(MAX_LINE_BYTES)));
    }
}
