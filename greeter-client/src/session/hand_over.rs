//! A connection that comes from elsewhere, and goes on to others.

use super::connection::SessionConnection;
use super::error::SessionError;
use super::group::Group;
use super::{DEFAULT, Session};
use crate::net::{Deadline, Route, Stream};

impl Session {
    /// Takes a connection that is open as the one without a name. `route` is how it was opened.
    pub(crate) fn adopt(&mut self, stream: Stream, route: Route) -> Result<(), SessionError> {
        let connection = SessionConnection::adopt(stream, route, self.options.max_unread_bytes, &mut self.log)?;
        self.groups.push(Group { name: DEFAULT.to_owned(), members: vec![connection] });
        Ok(())
    }

    /// Gives the connection without a name away, open as it is, and abandons the others.
    ///
    /// # Errors
    ///
    /// There is something unread on it, it has ended, or what was sent does not leave.
    pub(crate) fn hand_over(&mut self) -> Result<Stream, SessionError> {
        let deadline = Deadline::after(Some(self.options.timeout));
        self.flush_by(&deadline);
        let group = self.groups.iter_mut().find(|group| group.name == DEFAULT);
        let connection = group.and_then(|group| group.members.pop());
        connection.ok_or_else(|| SessionError::UnknownConnection(DEFAULT.to_owned()))?.hand_over(&deadline)
    }
}
