//! Has other options hold for a server that runs. Must not know how they reach its threads.

use std::sync::Arc;

use greeter_core::Responder;

use crate::accept::listener::kind_of;
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
    /// client are answered side by side, and what is said to whom is rejected; and of its listeners
    /// their names, [proxies](crate::Listener::proxy_from) and certificates. All of it does, or
    /// nothing if any of it is invalid. The rest of the builder (its responder, its sockets) means
    /// nothing here.
    ///
    /// Threads, how lines are framed, [keepalive](Builder::tcp_keepalive), where is listened,
    /// whether in TLS, and who may connect to the file of a Unix socket stay as the server was
    /// started; the report names the options that would have changed these. What binds whom:
    ///
    /// * Timeouts hold at once, for everybody, counted from when the wait began.
    /// * The length of a line holds from the next read, and how much may be unsent, or held in all,
    ///   from the next reply or push.
    /// * The numbers of connections, in all and for an address, and what a listener has, are for
    ///   those who come. Nobody who is connected is thrown out.
    ///
    /// A listener is known by its place and whether it has TLS, whatever the order; the place of an
    /// [opened socket](crate::Listener::opened) is what it is bound to. One that the builder does
    /// not have stays as it is; so a builder without any is for the other options. Of its opened
    /// sockets nothing else is used.
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
    /// use greeter_server::{Listener, Server};
    ///
    /// let listener = || Listener::from("127.0.0.1:0");
    /// let server = Server::builder().bind(listener().proxy_from(["10.0.0.0/8"]))?.spawn()?;
    /// let report = server.reload(Server::builder().max_connections(50).workers(7))?;
    /// assert_eq!(server.limits().max_connections, 50);
    /// assert_eq!(report.needs_restart, ["workers"]);
    ///
    /// let too_short = Server::builder().max_connections(60).idle_timeout(Duration::ZERO);
    /// assert!(server.reload(too_short).is_err());
    /// assert_eq!(server.limits().max_connections, 50);
    ///
    /// // Another network of proxies.
    /// server.reload(Server::builder().listen(listener().proxy_from(["192.0.2.0/24"])))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reload<R: Responder>(&self, mut builder: Builder<R>) -> Result<ReloadReport, BuildError> {
        let running = self.running_config();
        let mut current_rules = running.lock();
        let (options, mut needs_restart) = running.possible(builder.options);
        let Some(config) = running.make(options) else { return Ok(ReloadReport { needs_restart }) };
        let (config, listeners) = match (config, builder.take_listeners()) {
            (Ok(config), Ok(listeners)) => (config, listeners),
            (config, listeners) => {
                let invalid = [config.err(), listeners.err()].into_iter().flatten().flatten();
                return Err(BuildError::Invalid(invalid.collect()));
            }
        };
        let asked: Vec<_> = listeners.into_iter().map(|(place, rules)| (kind_of(&place, &rules), rules)).collect();
        let is_asked = !asked.is_empty();
        let (entry_rules, are_the_same) = running.entry_rules(&current_rules, asked);
        if is_asked && !are_the_same {
            needs_restart.push("listen");
        }
        self.apply(Arc::new(config.with_limits_for(&entry_rules)), entry_rules.clone());
        *current_rules = entry_rules;
        Ok(ReloadReport { needs_restart })
    }
}
