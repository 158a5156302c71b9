//! A responder that does as it is told by the first letter of a line, and what a client reads of that.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

use greeter_core::{BoxError, CloseReason, Line, LineEnding, Peer, Rejection, Reply, Responder};

/// What it does with a client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Silent,
    Banner,
    CrLfBanner,
    LastWord,
    Rejection,
    BoxError,
    Panic,
    Broken,
}

impl Welcome {
    pub(super) const ALL: [Self; 8] = [
        Self::Silent,
        Self::Banner,
        Self::CrLfBanner,
        Self::LastWord,
        Self::Rejection,
        Self::BoxError,
        Self::Panic,
        Self::Broken,
    ];

    /// Whether there is a session afterwards.
    pub(super) const fn lets_in(self) -> bool {
        match self {
            Self::Silent | Self::Banner | Self::CrLfBanner | Self::LastWord => true,
            Self::Rejection | Self::BoxError | Self::Panic | Self::Broken => false,
        }
    }

    /// How what is said before the client's first line ends.
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Self::CrLfBanner | Self::Rejection => "\r\n",
            _ => "\n",
        }
    }
}

#[derive(Debug)]
pub(super) struct Obedient {
    pub(super) welcome: Welcome,
    pub(super) disconnect: AtomicU32,
}

/// The hook for panics, which a fuzzer takes for a find, is passed by.
fn panic() -> ! {
    resume_unwind(Box::new("as told"))
}

impl Responder for Obedient {
    /// How often it was asked.
    type Session = u32;

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<u32, BoxError> {
        match self.welcome {
            Welcome::Silent => {}
            Welcome::Banner => reply.line("hello"),
            Welcome::CrLfBanner => {
                reply.end_lines_with(LineEnding::CrLf);
                reply.line("hello");
            }
            Welcome::LastWord => {
                reply.line("closed today");
                reply.close();
            }
            Welcome::Rejection => {
                reply.end_lines_with(LineEnding::CrLf);
                return Err(Rejection::custom("not you").into());
            }
            Welcome::BoxError => return Err("as told".into()),
            Welcome::Panic => {
                reply.line("hel");
                panic()
            }
            Welcome::Broken => reply.line("hel\nlo"),
        }
        Ok(0)
    }

    fn respond(&self, asked: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *asked += 1;
        let text = line.as_bytes();
        match text.first() {
            Some(b's') => {}
            Some(b't') => (1..=3).for_each(|part| reply.line(format_args!("{asked}.{part}"))),
            Some(b'l') => reply.line(vec![b'x'; LONG]),
            Some(b'r') => reply.raw("raw\n\n\r\nend"),
            Some(b'n') => return Err(Rejection::custom("no").into()),
            Some(b'b') => reply.line("two\nlines"),
            Some(b'f') => {
                reply.line("half");
                return Err("as told".into());
            }
            Some(b'p') => {
                reply.line("half");
                panic()
            }
            Some(b'q') => {
                reply.line("bye");
                reply.close();
            }
            Some(b'c') => {
                reply.close();
                return Err("as told".into());
            }
            _ => reply.line([format!("{asked} ").as_bytes(), text].concat()),
        }
        Ok(())
    }

    fn disconnect(&self, _: u32, _: CloseReason) {
        self.disconnect.fetch_add(1, Ordering::Relaxed);
    }
}

const LONG: usize = 300;

/// What is said in one turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    /// Whether it is the last that is said.
    pub(super) closes: bool,
    /// How often the responder failed.
    pub(super) errors: u32,
}

impl Said {
    pub(super) fn line(&mut self, text: impl AsRef<[u8]>, ending: &str) {
        self.bytes.extend_from_slice(text.as_ref());
        self.bytes.extend_from_slice(ending.as_bytes());
    }

    fn error(&mut self, ending: &str) {
        self.errors += 1;
        self.line("error: internal error", ending);
    }
}

/// What a client reads that connects.
pub(super) fn welcome(welcome: Welcome, said: &mut Said) {
    match welcome {
        Welcome::Silent => {}
        Welcome::Banner => said.line("hello", "\n"),
        Welcome::CrLfBanner => said.line("hello", "\r\n"),
        Welcome::LastWord => said.line("closed today", "\n"),
        Welcome::Rejection => said.line("error: not you", "\r\n"),
        Welcome::BoxError | Welcome::Panic | Welcome::Broken => said.error("\n"),
    }
    said.closes = !welcome.lets_in() || welcome == Welcome::LastWord;
}

/// What it reads for a line that is the responder's so many-th.
pub(super) fn reply_to(asked: u32, text: &[u8], ending: &str, said: &mut Said) {
    match text.first() {
        Some(b's') => {}
        Some(b't') => said.bytes.extend(format!("{asked}.1{ending}{asked}.2{ending}{asked}.3{ending}").bytes()),
        Some(b'l') => said.line("x".repeat(LONG), ending),
        Some(b'r') => said.bytes.extend(b"raw\n\n\r\nend"),
        Some(b'n') => said.line("error: no", ending),
        Some(b'b' | b'f' | b'p' | b'c') => said.error(ending),
        Some(b'q') => said.line("bye", ending),
        _ => said.line([format!("{asked} ").as_bytes(), text].concat(), ending),
    }
    said.closes = matches!(text.first(), Some(b'q' | b'c'));
}
