//! Turns the first letter of a line into what a responder does, and into what the client should
//! receive for it.
//!
//! It knows no connection.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

use greeter_core::{BoxError, CloseReason, Line, LineEnding, Peer, Rejection, Reply, Responder};

/// What the responder does with a client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnConnect {
    Silent,
    Banner,
    CrLfBanner,
    Close,
    Rejection,
    Error,
    Panic,
    Broken,
}

impl OnConnect {
    pub(super) const ALL: [Self; 8] = [
        Self::Silent,
        Self::Banner,
        Self::CrLfBanner,
        Self::Close,
        Self::Rejection,
        Self::Error,
        Self::Panic,
        Self::Broken,
    ];

    /// Returns whether there is a session afterwards.
    pub(super) const fn accepts(self) -> bool {
        match self {
            Self::Silent | Self::Banner | Self::CrLfBanner | Self::Close => true,
            Self::Rejection | Self::Error | Self::Panic | Self::Broken => false,
        }
    }

    /// Returns how the lines end that the client receives before it has sent one.
    pub(super) const fn ending(self, default: &'static str) -> &'static str {
        match self {
            Self::CrLfBanner | Self::Rejection => "\r\n",
            _ => default,
        }
    }
}

/// A responder that does what the first letter of a line says.
#[derive(Debug)]
pub(super) struct ScriptedResponder {
    pub(super) on_connect: OnConnect,
    pub(super) disconnects: AtomicU32,
}

/// Panics past the hook, since a fuzzer takes a call of the hook for a find.
fn panic() -> ! {
    resume_unwind(Box::new("as told"))
}

impl Responder for ScriptedResponder {
    /// How many lines the responder was asked to answer.
    type Session = u32;

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<u32, BoxError> {
        match self.on_connect {
            OnConnect::Silent => {}
            OnConnect::Banner => reply.line("hello"),
            OnConnect::CrLfBanner => {
                reply.end_lines_with(LineEnding::CrLf);
                reply.line("hello");
            }
            OnConnect::Close => {
                reply.line("closed today");
                reply.close();
            }
            OnConnect::Rejection => {
                reply.end_lines_with(LineEnding::CrLf);
                return Err(Rejection::custom("not you").into());
            }
            OnConnect::Error => return Err("as told".into()),
            OnConnect::Panic => {
                reply.line("hel");
                panic()
            }
            OnConnect::Broken => reply.line("hel\nlo"),
        }
        Ok(0)
    }

    fn respond(&self, count: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *count += 1;
        let text = line.as_bytes();
        match text.first() {
            Some(b's') => {}
            Some(b't') => (1..=3).for_each(|part| reply.line(format_args!("{count}.{part}"))),
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
            _ => reply.line([format!("{count} ").as_bytes(), text].concat()),
        }
        Ok(())
    }

    fn disconnect(&self, _: u32, _: CloseReason) {
        self.disconnects.fetch_add(1, Ordering::Relaxed);
    }
}

const LONG: usize = 300;

/// What a client should receive for one turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ModelReplies {
    pub(super) bytes: Vec<u8>,
    /// Whether the connection closes behind it.
    pub(super) closes: bool,
    /// Whether it closes because a line was rejected that the responder has not seen.
    pub(super) closes_rejected: bool,
    /// How often the responder failed.
    pub(super) errors: u32,
}

impl ModelReplies {
    pub(super) fn line(&mut self, text: impl AsRef<[u8]>, ending: &str) {
        self.bytes.extend_from_slice(text.as_ref());
        self.bytes.extend_from_slice(ending.as_bytes());
    }

    fn error(&mut self, ending: &str) {
        self.errors += 1;
        self.line("error: internal error", ending);
    }
}

/// Adds what a client receives that connects.
pub(super) fn banner(on_connect: OnConnect, default: &'static str, replies: &mut ModelReplies) {
    let ending = on_connect.ending(default);
    match on_connect {
        OnConnect::Silent => {}
        OnConnect::Banner | OnConnect::CrLfBanner => replies.line("hello", ending),
        OnConnect::Close => replies.line("closed today", ending),
        OnConnect::Rejection => replies.line("error: not you", ending),
        OnConnect::Error | OnConnect::Panic | OnConnect::Broken => replies.error(ending),
    }
    replies.closes = !on_connect.accepts() || on_connect == OnConnect::Close;
}

/// Adds what a client receives for a line that is the `count`-th that the responder answers.
pub(super) fn reply_to(count: u32, text: &[u8], ending: &str, replies: &mut ModelReplies) {
    match text.first() {
        Some(b's') => {}
        Some(b't') => replies.bytes.extend(format!("{count}.1{ending}{count}.2{ending}{count}.3{ending}").bytes()),
        Some(b'l') => replies.line("x".repeat(LONG), ending),
        Some(b'r') => replies.bytes.extend(b"raw\n\n\r\nend"),
        Some(b'n') => replies.line("error: no", ending),
        Some(b'b' | b'f' | b'p' | b'c') => replies.error(ending),
        Some(b'q') => replies.line("bye", ending),
        _ => replies.line([format!("{count} ").as_bytes(), text].concat(), ending),
    }
    replies.closes = matches!(text.first(), Some(b'q' | b'c'));
}
