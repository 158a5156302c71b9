//! A look at what has come and has not been consumed, for whoever decides afterwards what should
//! have: `--bless`.

use std::thread;
use std::time::{Duration, Instant};

use super::Session;
use super::connection::SessionConnection;
use super::error::SessionError;
use super::event::Event;
use super::group::Group;
use super::socket_io::SendErrors;
use crate::net::{Deadline, Eol, StreamEnd};

/// How many lines of a connection are looked at together: a reply that differs in more of them is
/// looked at in parts.
const MAX_LINES: usize = 100;

/// What is unread on all the connections of one name.
#[derive(Debug)]
pub(crate) struct GroupPeek {
    pub(crate) name: String,
    /// It is a crowd, if of one member only.
    pub(crate) is_crowd: bool,
    /// How many connections there are of that name.
    pub(crate) size: usize,
    /// Those of them that were looked at.
    pub(crate) members: Vec<Peek>,
}

impl GroupPeek {
    /// Whether all connections of the name were looked at, so that something can be said of them
    /// all.
    pub(crate) fn is_whole(&self) -> bool {
        self.members.len() == self.size
    }
}

/// What is unread on one connection.
#[derive(Debug)]
pub(crate) struct Peek {
    /// The number within the crowd, from 1; none outside of crowds.
    pub(crate) member: Option<usize>,
    /// The first whole lines, without their endings.
    pub(crate) lines: Vec<Vec<u8>>,
    /// What stands behind the last line; none if there are more lines than are looked at.
    pub(crate) rest: Vec<u8>,
    /// How the peer ended the stream behind all that.
    pub(crate) end: Option<StreamEnd>,
    pub(crate) is_half_closed: bool,
}

impl Session {
    /// Flushes, then waits until nothing has come on any connection for so long, but no longer than
    /// `max_time`.
    pub(crate) fn wait_until_quiet(&mut self, quiet: Duration, max_time: Duration) {
        self.flush();
        let until = Deadline::after(Some(max_time));
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

    /// Flushes, and waits until each connection of `name` has a whole line or has ended; then says
    /// what is unread.
    pub(crate) fn await_lines(&mut self, name: &str, timeout: Duration) -> Result<GroupPeek, SessionError> {
        let selection = self.select(name)?;
        let deadline = Deadline::from(Instant::now(), Some(timeout));
        self.flush_by(&deadline);
        for connection in self.members(&selection).0 {
            connection.socket_io()?.wait(&deadline, SendErrors::Ignored, |state| {
                (state.received.line().is_some() || state.end.is_some()).then_some(())
            });
        }
        self.peek_group(name)
    }

    /// What is unread on the connections of `name`, which have been opened.
    pub(crate) fn peek_group(&mut self, name: &str) -> Result<GroupPeek, SessionError> {
        let selection = self.select(name)?;
        let eol = self.options.eol;
        let is_crowd = self.groups[selection.group].is_crowd();
        let members = self.members(&selection).0.iter().filter_map(|connection| connection.peek(eol)).collect();
        Ok(GroupPeek { name: name.to_owned(), is_crowd, size: selection.members.len(), members })
    }

    /// What is unread on all connections that the end of the session asks for.
    pub(crate) fn peek(&self) -> Vec<GroupPeek> {
        let group = |group: &Group| {
            let open = group.members.iter().filter(|connection| connection.is_unfinished());
            let members = open.filter_map(|connection| connection.peek(self.options.eol)).collect();
            GroupPeek { name: group.name.clone(), is_crowd: group.is_crowd(), size: group.members.len(), members }
        };
        self.groups.iter().map(group).collect()
    }

    /// Consumes so many lines of the connection `name`, or of its member with this number.
    pub(crate) fn take_lines(&mut self, name: &str, member: Option<usize>, count: usize) -> Result<(), SessionError> {
        self.take(
            name,
            member,
            |connection| {
                let line = connection.socket_io()?.lock().received.line().map(<[u8]>::to_vec);
                Ok(line.unwrap_or_default())
            },
            count,
        )
    }

    /// Consumes all that is unread of the connection `name`, which is no whole line.
    pub(crate) fn take_rest(&mut self, name: &str, member: Option<usize>) -> Result<(), SessionError> {
        self.take(name, member, |connection| Ok(connection.socket_io()?.lock().received.unread().to_vec()), 1)
    }

    fn take(
        &mut self,
        name: &str,
        member: Option<usize>,
        front: impl Fn(&SessionConnection) -> Result<Vec<u8>, SessionError>,
        times: usize,
    ) -> Result<(), SessionError> {
        let selection = self.select(name)?;
        let eol = self.options.eol;
        let (members, log) = self.members(&selection);
        for connection in members.iter_mut().filter(|connection| connection.member == member) {
            for _ in 0..times {
                let bytes = front(connection)?;
                connection.socket_io()?.consume(bytes.len());
                let event = match bytes.ends_with(b"\n") {
                    true => Event::ReceivedLine(eol.strip(&bytes).to_vec()),
                    false => Event::ReceivedBytes(bytes),
                };
                connection.record(log, event);
            }
        }
        Ok(())
    }

    /// Half-closes every connection that is still open, and waits until all have ended, or for so
    /// long.
    pub(crate) fn half_close_all(&mut self, timeout: Duration) {
        let deadline = Deadline::after(Some(timeout));
        self.flush_by(&deadline);
        let Self { groups, log, .. } = self;
        let members =
            groups.iter_mut().flat_map(|group| &mut group.members).filter(|connection| connection.is_unfinished());
        let mut open: Vec<&mut SessionConnection> = members.collect();
        for connection in &mut open {
            // What cannot be said is told by the end of the session.
            let _ = connection.half_close(log);
        }
        for socket_io in open.iter().filter_map(|connection| connection.socket_io().ok()) {
            socket_io.wait(&deadline, SendErrors::Ignored, |state| state.end.map(|_| ()));
        }
    }

    /// How much is unread on each connection, and whether it has ended.
    fn arrived(&self) -> Vec<(usize, bool)> {
        let members =
            self.groups.iter().flat_map(|group| &group.members).filter(|connection| connection.is_unfinished());
        let arrived = |connection: &SessionConnection| {
            let socket_io = connection.socket_io().ok()?;
            let state = socket_io.lock();
            Some((state.received.unread().len(), state.end.is_some()))
        };
        members.filter_map(arrived).collect()
    }
}

impl SessionConnection {
    /// What is unread, unless we have closed the connection.
    fn peek(&self, eol: Eol) -> Option<Peek> {
        let socket_io = self.socket_io().ok()?;
        let state = socket_io.lock();
        let unread = state.received.unread();
        let mut lines = Vec::new();
        let mut start = 0;
        while lines.len() < MAX_LINES
            && let Some(lf) = memchr::memchr(b'\n', &unread[start..])
        {
            lines.push(eol.strip(&unread[start..=start + lf]).to_vec());
            start += lf + 1;
        }
        let rest = if lines.len() < MAX_LINES { unread[start..].to_vec() } else { Vec::new() };
        Some(Peek { member: self.member, lines, rest, end: state.end, is_half_closed: self.is_half_closed() })
    }
}
