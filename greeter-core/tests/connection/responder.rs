//! Turns the first letter of a line into what a responder does, and into what the client should
//! receive for it.
//!
//! It knows no connection.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::model::Expected;
use greeter_core::{BoxError, CloseReason, Later, Line, LineEnding, Peer, Rejection, Reply, Responder, WhenLate};

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

/// What the responder does when a client has stopped sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEnd {
    Line,
    Later,
    Panic,
    AskForBytes,
}

impl OnEnd {
    pub(super) const ALL: [Self; 4] = [Self::Line, Self::Later, Self::Panic, Self::AskForBytes];

    /// Adds what the client receives.
    pub(super) fn reply(self, count: &mut u32, ending: &str, replies: &mut ModelReplies) {
        *count += 1;
        match self {
            Self::Line => replies.line(format!("{count} in all"), ending),
            Self::Later => {
                replies.line("wait", ending);
                replies.parked = Some(WhenLate::Reject);
            }
            Self::Panic | Self::AskForBytes => replies.error(ending),
        }
    }
}

/// A responder that does what the first letter of a line says.
#[derive(Debug)]
pub(super) struct ScriptedResponder {
    pub(super) on_connect: OnConnect,
    pub(super) max_data_bytes: u32,
    pub(super) on_end: Option<OnEnd>,
    /// The answers that are to come later, the oldest first.
    pub(super) promised: Mutex<Vec<Later>>,
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
            Some(b'y' | b'j' | b'v') => self.promise(text, reply),
            Some(b'Y' | b'J' | b'V') => {
                self.promise(text, reply);
                reply.close();
            }
            Some(b'z') => reply.later().line("at once"),
            Some(b'Z') => {
                self.promise(text, reply);
                return Err("as told".into());
            }
            Some(b'd' | b'k' | b'e' | b'g' | b'h' | b'i') => return ask_for_bytes(text, reply),
            _ => reply.line([format!("{count} ").as_bytes(), text].concat()),
        }
        Ok(())
    }

    fn bytes(&self, count: &mut u32, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *count += 1;
        match bytes.first() {
            Some(b's') => {}
            Some(b'y' | b'j' | b'v') => self.promise(bytes, reply),
            Some(b'd') => read(bytes, reply),
            Some(b'f') => return Err("as told".into()),
            Some(b'p') => panic(),
            Some(b'q') => reply.close(),
            Some(b'b') => reply.line(bytes),
            _ => {
                reply.line(format_args!("{count}:"));
                reply.raw(bytes);
            }
        }
        Ok(())
    }

    fn end_of_input(&self, count: &mut u32, _: CloseReason, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *count += 1;
        match self.on_end.expect("it is wanted") {
            OnEnd::Line => reply.line(format_args!("{count} in all")),
            OnEnd::Later => {
                reply.line("wait");
                self.promise(b"j", reply);
            }
            OnEnd::Panic => {
                reply.line("half");
                panic()
            }
            OnEnd::AskForBytes => read(b"d\x05", reply),
        }
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        self.on_end.is_some()
    }

    fn max_data_bytes(&self) -> usize {
        self.max_data_bytes as usize
    }

    fn disconnect(&self, _: u32, _: CloseReason) {
        self.disconnects.fetch_add(1, Ordering::Relaxed);
    }
}

impl ScriptedResponder {
    fn promise(&self, text: &[u8], reply: &mut Reply<'_>) {
        self.promised.lock().expect("nobody panics with it").push(reply.later_with(when_late(text)));
    }
}

/// Returns what happens if the answer to this comes too late.
fn when_late(text: &[u8]) -> WhenLate {
    match text.first() {
        Some(b'j' | b'J') => WhenLate::Reject,
        Some(b'v' | b'V') => WhenLate::Wait,
        _ => WhenLate::Close,
    }
}

/// How an answer comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateKind {
    Line,
    Raw,
    Nothing,
    Rejection,
    Then,
    ThenClose,
    Failure,
    TwoLines,
    Dropped,
    OtherSession,
    /// Made with the session, with counted bytes behind it.
    ThenRead,
    /// Before the call has returned.
    AtOnce,
    /// Not in time.
    TimedOut,
}

impl LateKind {
    pub(super) const ALL: [Self; 11] = [
        Self::Line,
        Self::Raw,
        Self::Nothing,
        Self::Rejection,
        Self::Then,
        Self::ThenClose,
        Self::Failure,
        Self::TwoLines,
        Self::Dropped,
        Self::OtherSession,
        Self::ThenRead,
    ];

    pub(super) fn answer(self, later: Later) {
        match self {
            Self::Line => later.line("late"),
            Self::Raw => later.raw("l\na\r\nte"),
            Self::Nothing => later.raw(""),
            Self::Rejection => later.reject(Rejection::custom("late no")),
            Self::Then => later.then(|count: &mut u32, reply| {
                *count += 1;
                reply.line(format_args!("{count} then"));
                Ok(())
            }),
            Self::ThenClose => later.then(|_: &mut u32, reply| {
                reply.close();
                Ok(())
            }),
            Self::Failure => later.then(|_: &mut u32, reply| {
                reply.line("half");
                panic()
            }),
            Self::TwoLines => later.line("two\nlines"),
            Self::Dropped => drop(later),
            Self::OtherSession => later.then(|_: &mut String, _| Ok(())),
            Self::ThenRead => later.then(|_: &mut u32, reply| {
                read(b"d\x14", reply);
                Ok(())
            }),
            Self::AtOnce => later.line("at once"),
            Self::TimedOut => unreachable!("nobody gives it"),
        }
    }

    /// Returns whether a thread that answers is to do it.
    pub(super) const fn is_then(self) -> bool {
        matches!(self, Self::Then | Self::ThenClose | Self::Failure | Self::OtherSession | Self::ThenRead)
    }

    /// Returns what a connection sends by itself, without a thread that answers.
    pub(super) fn bytes(self, ending: &str) -> Option<Vec<u8>> {
        match self {
            Self::Line => Some(format!("late{ending}").into_bytes()),
            Self::Raw => Some(b"l\na\r\nte".to_vec()),
            Self::Nothing => Some(Vec::new()),
            Self::AtOnce => Some(format!("at once{ending}").into_bytes()),
            _ => None,
        }
    }

    /// Adds what a client should receive from a thread that answers.
    pub(super) fn reply(self, count: &mut u32, ending: &str, max_data_bytes: usize, replies: &mut ModelReplies) {
        match self {
            Self::Rejection => replies.line("error: late no", ending),
            Self::TimedOut => replies.line("error: timed out", ending),
            Self::Then => {
                *count += 1;
                replies.line(format!("{count} then"), ending);
            }
            Self::ThenClose => replies.closes = true,
            Self::ThenRead => replies.read(b"d\x14", ending, max_data_bytes),
            _ => replies.error(ending),
        }
    }
}

const LONG: usize = 300;

/// Returns how many bytes a line or a block asks for.
fn number_in(text: &[u8]) -> usize {
    text.get(1).map_or(0, |&byte| usize::from(byte) % 48)
}

/// Does what a line says that asks for counted bytes, or skips them.
fn ask_for_bytes(text: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
    match text.first() {
        Some(b'd') => read(text, reply),
        Some(b'k') => {
            reply.line("skipping");
            reply.skip_bytes(number_in(text) as u64);
        }
        Some(b'e') => {
            reply.line("half");
            reply.read_bytes(number_in(text))?;
            return Err("as told".into());
        }
        Some(b'g') => {
            read(text, reply);
            reply.skip_bytes(1);
        }
        Some(b'h') => {
            read(text, reply);
            panic()
        }
        Some(b'i') => {
            read(text, reply);
            reply.close();
        }
        _ => unreachable!("it asks for no bytes"),
    }
    Ok(())
}

fn read(text: &[u8], reply: &mut Reply<'_>) {
    if reply.read_bytes(number_in(text)).is_err() {
        reply.line("too many");
    }
}

/// What a client should receive for one turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ModelReplies {
    pub(super) bytes: Vec<u8>,
    /// Whether the connection closes behind it.
    pub(super) closes: bool,
    /// Whether it closes because a line was rejected that the responder has not seen.
    pub(super) closes_rejected: bool,
    /// The counted bytes that were asked for in the last call.
    pub(super) expected: Option<Expected>,
    /// Whether the answer to the last call comes later, and what happens if that is too late; or
    /// whether it was there at once.
    pub(super) parked: Option<WhenLate>,
    pub(super) is_answered_at_once: bool,
    /// How often the responder failed.
    pub(super) errors: u32,
}

impl ModelReplies {
    pub(super) fn line(&mut self, text: impl AsRef<[u8]>, ending: &str) {
        self.bytes.extend_from_slice(text.as_ref());
        self.bytes.extend_from_slice(ending.as_bytes());
    }

    /// What [`read`] does.
    fn read(&mut self, text: &[u8], ending: &str, max: usize) {
        let bytes = number_in(text);
        if max == 0 {
            self.error(ending);
            self.expected = Some(Expected::Skip(bytes));
        } else if bytes > max {
            self.line("too many", ending);
            self.expected = Some(Expected::Skip(bytes));
        } else {
            self.expected = Some(Expected::Read(bytes));
        }
    }

    pub(super) fn error(&mut self, ending: &str) {
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
pub(super) fn reply_to(count: u32, text: &[u8], ending: &str, max_data_bytes: usize, replies: &mut ModelReplies) {
    match text.first() {
        Some(b's') => {}
        Some(b't') => replies.bytes.extend(format!("{count}.1{ending}{count}.2{ending}{count}.3{ending}").bytes()),
        Some(b'l') => replies.line("x".repeat(LONG), ending),
        Some(b'r') => replies.bytes.extend(b"raw\n\n\r\nend"),
        Some(b'n') => replies.line("error: no", ending),
        Some(b'b' | b'f' | b'p' | b'c') => replies.error(ending),
        Some(b'q') => replies.line("bye", ending),
        Some(b'y' | b'Y' | b'j' | b'J' | b'v' | b'V') => replies.parked = Some(when_late(text)),
        Some(b'z') => replies.is_answered_at_once = true,
        Some(b'Z') => replies.error(ending),
        Some(b'd' | b'i') => replies.read(text, ending, max_data_bytes),
        Some(b'k') => {
            if max_data_bytes == 0 {
                replies.error(ending);
            } else {
                replies.line("skipping", ending);
            }
            replies.expected = Some(Expected::Skip(number_in(text)));
        }
        Some(b'e' | b'g' | b'h') => {
            replies.error(ending);
            replies.expected = Some(Expected::Skip(number_in(text)));
        }
        _ => replies.line([format!("{count} ").as_bytes(), text].concat(), ending),
    }
    replies.closes = matches!(text.first(), Some(b'q' | b'c' | b'i' | b'Y' | b'J' | b'V'));
}

/// Adds what a client receives for counted bytes, the `count`-th call of the responder.
pub(super) fn block_reply(count: u32, bytes: &[u8], ending: &str, max_data_bytes: usize, replies: &mut ModelReplies) {
    match bytes.first() {
        Some(b's') => {}
        Some(b'y' | b'j' | b'v') => replies.parked = Some(when_late(bytes)),
        Some(b'd') => replies.read(bytes, ending, max_data_bytes),
        Some(b'f' | b'p') => replies.error(ending),
        Some(b'q') => replies.closes = true,
        Some(b'b') if bytes.contains(&b'\n') => replies.error(ending),
        Some(b'b') => replies.line(bytes, ending),
        _ => {
            replies.line(format!("{count}:"), ending);
            replies.bytes.extend_from_slice(bytes);
        }
    }
}
