//! A look at what has come and has not been consumed, for whoever decides afterwards what should have: `--bless`.

use std::thread;
use std::time::{Duration, Instant};

use super::Session;
use super::connection::Link;
use super::error::SessionError;
use super::event::Act;
use super::expectation::strip;
use super::socket_io::SendErrors;
use crate::net::{Deadline, Eol, PeerEnd};

/// How many lines of a connection are looked at together: a reply that differs in more of them is looked at in parts.
const LINES_MAX: usize = 100;

/// What is unread on all the connections of one name.
#[derive(Debug)]
pub(crate) struct UnreadParty {
    pub(crate) name: String,
    /// It is a crowd, if of one member only.
    pub(crate) is_crowd: bool,
    /// How many connections there are of that name.
    pub(crate) size: usize,
    /// Those of them that were looked at.
    pub(crate) links: Vec<Unread>,
}

impl UnreadParty {
    /// Whether all connections of the name were looked at, so that something can be said of them all.
    pub(crate) fn is_whole(&self) -> bool {
        self.links.len() == self.size
    }
}

/// What is unread on one connection.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The number within the crowd, from 1; 0 outside of crowds.
    pub(crate) member: usize,
    /// The first whole lines, without their endings.
    pub(crate) lines: Vec<Vec<u8>>,
    /// What stands behind the last line; none if there are more lines than are looked at.
    pub(crate) rest: Vec<u8>,
    /// How the peer ended the stream behind all that.
    pub(crate) end: Option<PeerEnd>,
    pub(crate) is_half_closed: bool,
}

impl Session {
    /// Flushes, then waits until nothing has come on any connection for so long, but no longer than `time_max`.
    pub(crate) fn settle(&mut self, quiet: Duration, time_max: Duration) {
        self.flush();
        let until = Deadline::after(Some(time_max));
        let mut before = self.arrived();
        while before.iter().any(|(_, ended)| !ended) && until.remaining().is_ok() {
            thread::sleep(quiet);
            let now = self.arrived();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Flushes, and waits until each connection of `name` has a whole line or has ended; then says what is unread.
    pub(crate) fn await_lines(&mut self, name: &str, timeout: Duration) -> Result<UnreadParty, SessionError> {
        let selection = self.select(name)?;
        let deadline = Deadline::from(Instant::now(), Some(timeout));
        self.flush_by(&deadline);
        for link in self.links(&selection).0 {
            link.wire()?.wait(&deadline, SendErrors::Forgiven, |state| {
                (state.inbox.line().is_some() || state.end.is_some()).then_some(())
            });
        }
        self.unread_of(name)
    }

    /// What is unread on the connections of `name`, which have been opened.
    pub(crate) fn unread_of(&mut self, name: &str) -> Result<UnreadParty, SessionError> {
        let selection = self.select(name)?;
        let eol = self.options.eol;
        let is_crowd = self.parties[selection.party].is_crowd;
        let links = self.links(&selection).0.iter().filter_map(|link| link.unread(eol)).collect();
        Ok(UnreadParty { name: name.to_owned(), is_crowd, size: selection.links.len(), links })
    }

    /// What is unread on all connections that the end of the session asks for.
    pub(crate) fn unread(&self) -> Vec<UnreadParty> {
        let party = |party: &super::Party| {
            let open = party.links.iter().filter(|link| link.is_unfinished());
            let links = open.filter_map(|link| link.unread(self.options.eol)).collect();
            UnreadParty { name: party.name.clone(), is_crowd: party.is_crowd, size: party.links.len(), links }
        };
        self.parties.iter().map(party).collect()
    }

    /// Consumes so many lines of the connection `name`, or of its member with this number.
    pub(crate) fn take_lines(&mut self, name: &str, member: usize, count: usize) -> Result<(), SessionError> {
        self.take(
            name,
            member,
            |link| {
                let line = link.wire()?.lock().inbox.line().map(<[u8]>::to_vec);
                Ok(line.unwrap_or_default())
            },
            count,
        )
    }

    /// Consumes all that is unread of the connection `name`, which is no whole line.
    pub(crate) fn take_rest(&mut self, name: &str, member: usize) -> Result<(), SessionError> {
        self.take(name, member, |link| Ok(link.wire()?.lock().inbox.unread().to_vec()), 1)
    }

    fn take(
        &mut self,
        name: &str,
        member: usize,
        front: impl Fn(&Link) -> Result<Vec<u8>, SessionError>,
        times: usize,
    ) -> Result<(), SessionError> {
        let selection = self.select(name)?;
        let eol = self.options.eol;
        let (links, log) = self.links(&selection);
        for link in links.iter_mut().filter(|link| link.member == member) {
            for _ in 0..times {
                let bytes = front(link)?;
                link.wire()?.consume(bytes.len());
                let act = match bytes.ends_with(b"\n") {
                    true => Act::ReceivedLine(strip(eol, &bytes).to_vec()),
                    false => Act::ReceivedBytes(bytes),
                };
                link.record(log, act);
            }
        }
        Ok(())
    }

    /// Half-closes every connection that is still open, and waits until all have ended, or for so long.
    pub(crate) fn half_close_all(&mut self, timeout: Duration) {
        let deadline = Deadline::after(Some(timeout));
        self.flush_by(&deadline);
        let Self { parties, log, .. } = self;
        let links = parties.iter_mut().flat_map(|party| &mut party.links).filter(|link| link.is_unfinished());
        let mut open: Vec<&mut Link> = links.collect();
        for link in &mut open {
            // What cannot be said is told by the end of the session.
            let _ = link.half_close(log);
        }
        for wire in open.iter().filter_map(|link| link.wire().ok()) {
            wire.wait(&deadline, SendErrors::Forgiven, |state| state.end.map(|_| ()));
        }
    }

    /// How much is unread on each connection, and whether it has ended.
    fn arrived(&self) -> Vec<(usize, bool)> {
        let links = self.parties.iter().flat_map(|party| &party.links).filter(|link| link.is_unfinished());
        let arrived = |link: &Link| {
            let wire = link.wire().ok()?;
            let state = wire.lock();
            Some((state.inbox.unread().len(), state.end.is_some()))
        };
        links.filter_map(arrived).collect()
    }
}

impl Link {
    /// What is unread, unless we have closed the connection.
    fn unread(&self, eol: Eol) -> Option<Unread> {
        let wire = self.wire().ok()?;
        let state = wire.lock();
        let unread = state.inbox.unread();
        let mut lines = Vec::new();
        let mut start = 0;
        while lines.len() < LINES_MAX
            && let Some(lf) = memchr::memchr(b'\n', &unread[start..])
        {
            lines.push(strip(eol, &unread[start..=start + lf]).to_vec());
            start += lf + 1;
        }
        let rest = if lines.len() < LINES_MAX { unread[start..].to_vec() } else { Vec::new() };
        Some(Unread { member: self.member, lines, rest, end: state.end, is_half_closed: self.is_half_closed() })
    }
}
