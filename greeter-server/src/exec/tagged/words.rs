//! Lines of the protocol into what they say, and back. Must not know who is there.

use std::borrow::Cow;
use std::fmt;

use greeter_core::Peer;
use tracing::Level;

/// The version that is spoken.
const VERSION: &[u8] = b"1";

/// The number of a client in one process, which gives it to nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaggedId(pub(super) u64);

/// What a program is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum WordOut<'a> {
    Hello,
    /// With what [`opening`] says of the client.
    Open(TaggedId, &'a [u8]),
    Line(TaggedId, &'a [u8]),
    End(TaggedId, EndWord),
}

/// Why a client is gone, in the word that its program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndWord {
    /// It has stopped sending, and has received all.
    Left,
    /// Its connection broke.
    Lost,
    /// The program has closed it.
    Closed,
    /// The line was not answered in time.
    Timeout,
    /// It was silent, did not read, or did not finish its line.
    Idle,
    /// The program has broken the rule with it.
    Error,
    /// The server stops, or does not want it any more.
    Stopped,
}

/// What a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WordIn<'a> {
    Hello,
    Log(Level, &'a [u8]),
    Of(TaggedId, ClientWord<'a>),
}

/// What a program says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientWord<'a> {
    Say(Cow<'a, [u8]>),
    Done,
    Refuse(Cow<'a, [u8]>),
    Close,
    Push(Cow<'a, [u8]>),
}

/// Why a line of a program says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordFault {
    #[error("there is no such verb")]
    Verb,
    #[error("a field is missing")]
    Missing,
    #[error("there is a field too many")]
    Surplus,
    #[error("that is no ID")]
    Id,
    #[error("there is no such level")]
    Level,
    #[error("it speaks another version")]
    Version,
}

impl WordOut<'_> {
    /// Adds the line, with its LF.
    pub(super) fn append_to(self, bytes: &mut Vec<u8>) {
        let (verb, id, rest) = match self {
            Self::Hello => ("hello", None, VERSION),
            Self::Open(id, words) => ("open", Some(id), words),
            Self::Line(id, text) => ("line", Some(id), text),
            Self::End(id, reason) => ("end", Some(id), reason.word().as_bytes()),
        };
        bytes.extend_from_slice(verb.as_bytes());
        bytes.push(b'\t');
        if let Some(id) = id {
            bytes.extend_from_slice(&id.digits());
            bytes.push(b'\t');
        }
        bytes.extend_from_slice(rest);
        bytes.push(b'\n');
    }
}

impl EndWord {
    const fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::Error => "error",
            Self::Stopped => "stopped",
        }
    }
}

impl<'a> WordIn<'a> {
    /// Reads a line, given without its LF.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, WordFault> {
        let (verb, rest) = split(line);
        match verb {
            b"hello" => match last(rest)? {
                VERSION => Ok(Self::Hello),
                _ => Err(WordFault::Version),
            },
            b"say" => with_text(rest, ClientWord::Say),
            b"done" => Ok(Self::Of(TaggedId::parse(last(rest)?)?, ClientWord::Done)),
            b"refuse" => with_text(rest, ClientWord::Refuse),
            b"close" => Ok(Self::Of(TaggedId::parse(last(rest)?)?, ClientWord::Close)),
            b"push" => with_text(rest, ClientWord::Push),
            b"log" => {
                let (level, text) = split(rest.ok_or(WordFault::Missing)?);
                Ok(Self::Log(level_of(level)?, text.ok_or(WordFault::Missing)?))
            }
            _ => Err(WordFault::Verb),
        }
    }
}

impl ClientWord<'_> {
    pub(super) fn into_owned(self) -> ClientWord<'static> {
        let owned = |text: Cow<'_, [u8]>| Cow::Owned(text.into_owned());
        match self {
            Self::Say(text) => ClientWord::Say(owned(text)),
            Self::Done => ClientWord::Done,
            Self::Refuse(text) => ClientWord::Refuse(owned(text)),
            Self::Close => ClientWord::Close,
            Self::Push(text) => ClientWord::Push(owned(text)),
        }
    }

    /// Returns how much memory the word takes, about.
    pub(super) fn cost(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Say(text) | Self::Refuse(text) | Self::Push(text) => text.len(),
                Self::Done | Self::Close => 0,
            }
    }
}

impl TaggedId {
    fn digits(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// Reads an ID as it was given, and no other way to write it.
    fn parse(field: &[u8]) -> Result<Self, WordFault> {
        let number = std::str::from_utf8(field).ok().and_then(|digits| digits.parse().ok()).map(Self);
        number.filter(|id| id.digits() == field).ok_or(WordFault::Id)
    }
}

impl fmt::Display for TaggedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the field before the first TAB, and what is behind that.
fn split(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    memchr::memchr(b'\t', line).map_or((line, None), |tab| (&line[..tab], Some(&line[tab + 1..])))
}

/// Returns the field that has to be the last.
fn last(rest: Option<&[u8]>) -> Result<&[u8], WordFault> {
    match split(rest.ok_or(WordFault::Missing)?) {
        (field, None) => Ok(field),
        _ => Err(WordFault::Surplus),
    }
}

/// Returns a word with an ID and a text.
fn with_text<'a>(
    rest: Option<&'a [u8]>,
    word: impl FnOnce(Cow<'a, [u8]>) -> ClientWord<'a>,
) -> Result<WordIn<'a>, WordFault> {
    let (id, text) = split(rest.ok_or(WordFault::Missing)?);
    Ok(WordIn::Of(TaggedId::parse(id)?, word(Cow::Borrowed(text.ok_or(WordFault::Missing)?))))
}

fn level_of(field: &[u8]) -> Result<Level, WordFault> {
    Ok(match field {
        b"error" => Level::ERROR,
        b"warn" => Level::WARN,
        b"info" => Level::INFO,
        b"debug" => Level::DEBUG,
        b"trace" => Level::TRACE,
        _ => return Err(WordFault::Level),
    })
}

/// Returns what a program is told of a client that has come: its address, and how it has come.
pub(super) fn opening(peer: &Peer) -> Vec<u8> {
    let mut words = plain(&peer.address.to_string());
    let tls = peer.tls().map(|tls| tls.version.to_string());
    let via = peer.via().map(|via| via.to_string());
    let details = [("listener", peer.listener()), ("tls", tls.as_deref()), ("via", via.as_deref())];
    for (key, value) in details.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        words.push('\t');
        words.push_str(key);
        words.push('=');
        words.push_str(&plain(value));
    }
    words.into_bytes()
}

/// Returns a text that is one field: names are whatever somebody has made them.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::sync::Arc;

    use greeter_core::{Address, Origin, Proxied, ProxyHeader, TlsInfo, TlsVersion, client_id};
    use proptest::prelude::*;

    #[test]
    fn each_verb_has_its_fields() {
        let id = TaggedId(7);
        for (line, word) in [
            ("hello\t1", Ok(WordIn::Hello)),
            ("say\t7\ta\tb", Ok(WordIn::Of(id, ClientWord::Say(Cow::Borrowed(b"a\tb"))))),
            ("say\t7\t", Ok(WordIn::Of(id, ClientWord::Say(Cow::Borrowed(b""))))),
            ("done\t7", Ok(WordIn::Of(id, ClientWord::Done))),
            ("refuse\t7\tno such name", Ok(WordIn::Of(id, ClientWord::Refuse(Cow::Borrowed(b"no such name"))))),
            ("close\t7", Ok(WordIn::Of(id, ClientWord::Close))),
            ("push\t7\t\t", Ok(WordIn::Of(id, ClientWord::Push(Cow::Borrowed(b"\t"))))),
            ("log\twarn\tit rains", Ok(WordIn::Log(Level::WARN, b"it rains"))),
            ("", Err(WordFault::Verb)),
            ("Say\t7\ta", Err(WordFault::Verb)),
            ("say 7 a", Err(WordFault::Verb)),
            ("hello", Err(WordFault::Missing)),
            ("say", Err(WordFault::Missing)),
            ("say\t7", Err(WordFault::Missing)),
            ("done", Err(WordFault::Missing)),
            ("log\tinfo", Err(WordFault::Missing)),
            ("done\t7\t", Err(WordFault::Surplus)),
            ("hello\t1\tagain", Err(WordFault::Surplus)),
            ("hello\t2", Err(WordFault::Version)),
            ("done\t", Err(WordFault::Id)),
            ("done\t07", Err(WordFault::Id)),
            ("done\t+7", Err(WordFault::Id)),
            ("done\t-7", Err(WordFault::Id)),
            ("say\tx\ta", Err(WordFault::Id)),
            ("done\t18446744073709551616", Err(WordFault::Id)),
            ("log\tloud\ta", Err(WordFault::Level)),
        ] {
            assert_eq!(WordIn::parse(line.as_bytes()), word, "{line:?}");
        }
    }

    fn told(word: WordOut<'_>) -> String {
        let mut bytes = Vec::new();
        word.append_to(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_program_is_told_who_has_come_and_what_it_says() {
        let mut peer = Peer::new(client_id(3), Address::from(([127, 0, 0, 1], 4000)));
        let id = TaggedId(7);
        assert_eq!(told(WordOut::Hello), "hello\t1\n");
        assert_eq!(told(WordOut::Open(id, &opening(&peer))), "open\t7\t127.0.0.1:4000\n");
        let (header, _) = ProxyHeader::parse(b"PROXY UNKNOWN\r\n").unwrap().unwrap();
        let proxied = Proxied::new(Address::from(([10, 0, 0, 1], 5)), header);
        let origin = Origin::new(Some(proxied), Some(TlsInfo::new(TlsVersion::Tls13)));
        peer.origin = Some(Arc::new(origin.with_listener("in\tside\n")));
        assert_eq!(
            told(WordOut::Open(id, &opening(&peer))),
            "open\t7\t127.0.0.1:4000\tlistener=in?side?\ttls=TLSv1.3\tvia=10.0.0.1:5\n"
        );
        assert_eq!(told(WordOut::Line(id, b"a\tb")), "line\t7\ta\tb\n");
        assert_eq!(told(WordOut::End(id, EndWord::Timeout)), "end\t7\ttimeout\n");
    }

    proptest! {
        #[test]
        fn whatever_a_program_writes_is_read_or_refused(line in any::<Vec<u8>>(), id: u64, text in "[^\n]*") {
            let _ = WordIn::parse(&line);
            let say = format!("say\t{id}\t{text}");
            prop_assert_eq!(WordIn::parse(say.as_bytes()), Ok(WordIn::Of(TaggedId(id), ClientWord::Say(text.as_bytes().into()))));
        }
    }
}
