//! Has other options hold for a server that runs. Must not know how they reach its threads.

use std::sync::Arc;

use greeter_core::Responder;

use crate::builder::{BuildError, Builder};
use crate::handle::ServerHandle;

/// What a [reload](ServerHandle::reload) could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The options that differ from those that the server was started with and hold only once it is
    /// started again, by the names of their methods on [`Builder`].
    pub needs_restart: Vec<&'static str>,
}

impl ServerHandle {
    /// Has the options of this builder hold from now on: limits, timeouts, how many lines of one
    /// client are answered side by side, and what is said to whom is rejected. All of them do, or
    /// none if one of them is invalid. The rest of the builder (its responder, its listeners and
    /// their sockets) means nothing here.
    ///
    /// Threads, and how lines are framed, stay as the server was started; the report names the
    /// options that would have changed these. What binds whom:
    ///
    /// * Timeouts hold at once, for everybody, counted from when the wait began.
    /// * The length of a line holds from the next read, and how much may be unsent, or held in all,
    ///   from the next reply or push.
    /// * The numbers of connections, in all and for an address, are for those who come. Nobody who
    ///   is connected is thrown out.
    ///
    /// A server that has ended stays as it is.
    ///
    /// A host program that reads its settings from a file makes a builder of them each time: to
    /// start, and to reload.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Invalid`] with all invalid options. Then nothing has changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use greeter_server::Server;
    ///
    /// let server = Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let report = server.reload(&Server::builder().max_connections(50).workers(7))?;
    /// assert_eq!(server.limits().max_connections, 50);
    /// assert_eq!(report.needs_restart, ["workers"]);
    ///
    /// let too_short = Server::builder().max_connections(60).idle_timeout(Duration::ZERO);
    /// assert!(server.reload(&too_short).is_err());
    /// assert_eq!(server.limits().max_connections, 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reload<R: Responder>(&self, options: &Builder<R>) -> Result<ReloadReport, BuildError> {
        let running = self.running_config();
        let _one_at_a_time = running.lock();
        let (options, needs_restart) = running.possible(options.options);
        if let Some(config) = running.make(options) {
            self.apply(Arc::new(config.map_err(BuildError::Invalid)?));
        }
        Ok(ReloadReport { needs_restart })
    }
}
