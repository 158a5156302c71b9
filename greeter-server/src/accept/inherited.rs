//! The sockets that this process was started with. Must not open any.

use std::fmt;
#[cfg(unix)]
use std::io::{self, ErrorKind, stdin};
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};

/// The sockets that a service manager has opened for this process (`LISTEN_FDS`, as in
/// sd_listen_fds(3)), for addresses such as `fd:3` and `fd:NAME`.
///
/// With them, a server is started again and no client is refused meanwhile: the service manager
/// keeps the socket, and clients wait in its backlog.
///
/// ```
/// use greeter_server::{InheritedSockets, Server};
///
/// let inherited = InheritedSockets::from_env();
/// let addresses = inherited.addresses();
/// let mut builder = Server::builder().inherited(inherited);
/// for address in addresses {
///     builder = builder.listen(address);
/// }
/// # let builder = builder.listen("127.0.0.1:0");
/// let server = builder.build()?;
/// # Ok::<(), greeter_server::BuildError>(())
/// ```
#[derive(Default)]
pub struct InheritedSockets {
    #[cfg(unix)]
    sockets: Vec<InheritedSocket>,
}

/// One of them.
#[cfg(unix)]
#[derive(Debug)]
struct InheritedSocket {
    number: usize,
    /// From `LISTEN_FDNAMES`.
    name: Option<String>,
    /// `None` once it is taken.
    socket: Option<OwnedFd>,
}

/// The first number (`SD_LISTEN_FDS_START`).
#[cfg(unix)]
const FIRST: usize = 3;

impl InheritedSockets {
    /// Takes all sockets that were passed to this process, and makes them close when it starts
    /// another program.
    ///
    /// It takes `LISTEN_FDS` and `LISTEN_PID` out of the environment, so that no other program
    /// mistakes them for its own. So call it before the process has a second thread.
    #[must_use]
    pub fn from_env() -> Self {
        #[cfg(unix)]
        {
            let mut passed = listenfd::ListenFd::from_env();
            let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
            let names = names.split(':').map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
            let sockets = (0..passed.len()).zip(names.chain(std::iter::repeat(None))).map(|(index, name)| {
                let unix = passed.take_unix_listener(index).ok().flatten().map(OwnedFd::from);
                let socket = unix.or_else(|| passed.take_tcp_listener(index).ok().flatten().map(OwnedFd::from));
                InheritedSocket { number: FIRST + index, name, socket }
            });
            let sockets = sockets.collect();
            Self { sockets }
        }
        #[cfg(not(unix))]
        Self::default()
    }

    /// Returns the addresses of all of them that are not taken yet, such as `fd:3`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        #[cfg(unix)]
        let addresses = self.left().map(|socket| format!("fd:{}", socket.number)).collect();
        #[cfg(not(unix))]
        let addresses = Vec::new();
        addresses
    }
}

#[cfg(unix)]
impl InheritedSockets {
    /// Takes the socket with this number or name. 0 is stdin, where inetd (`wait`) and systemd
    /// (`StandardInput=socket`) put it.
    pub(crate) fn take(&mut self, which: &str) -> io::Result<OwnedFd> {
        if which == "0" {
            return stdin().as_fd().try_clone_to_owned();
        }
        let is_meant = |socket: &InheritedSocket| {
            which.parse() == Ok(socket.number) || socket.name.as_deref().is_some_and(|name| name == which)
        };
        let mut meant = self.sockets.iter_mut().filter(|socket| is_meant(socket));
        if let Some(socket) = meant.find_map(|socket| socket.socket.take()) {
            return Ok(socket);
        }
        let problem = if self.sockets.iter().any(is_meant) {
            "it is no socket that listens, or is used already".to_owned()
        } else if self.sockets.is_empty() {
            "no sockets were passed to this process (LISTEN_FDS)".to_owned()
        } else {
            format!("this process was passed {}", self.list())
        };
        Err(io::Error::new(ErrorKind::NotFound, problem))
    }

    fn left(&self) -> impl Iterator<Item = &InheritedSocket> {
        self.sockets.iter().filter(|socket| socket.socket.is_some())
    }

    /// Returns all of them in words.
    fn list(&self) -> String {
        let word = |socket: &InheritedSocket| match &socket.name {
            Some(name) => format!("fd:{} ({name})", socket.number),
            None => format!("fd:{}", socket.number),
        };
        self.sockets.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for InheritedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn inherited(names: &[(usize, Option<&str>)]) -> InheritedSockets {
        let socket = || Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into());
        let sockets = names.iter().map(|(number, name)| InheritedSocket {
            number: *number,
            name: name.map(Into::into),
            socket: socket(),
        });
        InheritedSockets { sockets: sockets.collect() }
    }

    #[test]
    fn a_socket_is_taken_by_number_or_name_and_once() {
        let mut sockets = inherited(&[(3, Some("mail")), (4, None), (5, Some("mail"))]);
        assert_eq!(sockets.addresses(), ["fd:3", "fd:4", "fd:5"]);
        assert!(sockets.take("4").is_ok() && sockets.take("mail").is_ok() && sockets.take("mail").is_ok());
        assert_eq!(sockets.addresses().len(), 0);
        let problem = |sockets: &mut InheritedSockets, which| sockets.take(which).unwrap_err().to_string();
        assert_eq!(problem(&mut sockets, "3"), "it is no socket that listens, or is used already");
        assert_eq!(problem(&mut sockets, "6"), "this process was passed fd:3 (mail), fd:4, fd:5 (mail)");
        let none = &mut InheritedSockets::default();
        assert_eq!(problem(none, "3"), "no sockets were passed to this process (LISTEN_FDS)");
    }
}
