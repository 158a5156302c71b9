//! The sockets that this process was started with. Must not open any.

#[cfg(unix)]
use std::ffi::OsString;
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
    problem: Option<InheritedError>,
}

/// Why this process has none of the sockets that its environment speaks of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedError {
    /// `LISTEN_FDS` is no number, or one that cannot be.
    #[error("LISTEN_FDS is {0:?}, which is no number of sockets")]
    NoNumber(String),
    /// `LISTEN_PID` is the number of another process: they are for that one.
    #[error("they are for another process: LISTEN_PID is {pid:?}, and this one is {own}")]
    AnotherProcess {
        /// The value of `LISTEN_PID`.
        pid: String,
        /// The number of this process.
        own: u32,
    },
}

/// One of them.
#[cfg(unix)]
#[derive(Debug)]
struct InheritedSocket {
    number: usize,
    /// From `LISTEN_FDNAMES`.
    name: Option<String>,
    socket: Passed,
}

/// What has become of a descriptor that was passed.
#[cfg(unix)]
#[derive(Debug)]
enum Passed {
    /// A socket, whether or not it listens.
    Socket(OwnedFd),
    /// No socket, or one of a kind that no server of lines could have.
    Other,
    Taken,
}

/// The first number (`SD_LISTEN_FDS_START`).
#[cfg(unix)]
const FIRST: usize = 3;
/// More than any process has.
#[cfg(unix)]
const MAX_SOCKETS: usize = 1 << 20;

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
            let problem = problem_of(&|name| std::env::var_os(name));
            if let Some(InheritedError::NoNumber(_)) = problem {
                return Self { sockets: Vec::new(), problem };
            }
            let mut passed = listenfd::ListenFd::from_env();
            let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
            let names = names.split(':').map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
            let sockets = (0..passed.len()).zip(names.chain(std::iter::repeat(None))).map(|(index, name)| {
                InheritedSocket { number: FIRST + index, name, socket: Passed::of(&mut passed, index) }
            });
            let sockets = sockets.collect();
            Self { sockets, problem }
        }
        #[cfg(not(unix))]
        Self::default()
    }

    /// Returns why there are none though the environment speaks of some.
    #[must_use]
    pub const fn problem(&self) -> Option<&InheritedError> {
        self.problem.as_ref()
    }

    /// Returns the addresses of all of them that are not taken yet, such as `fd:3`. One that is no
    /// socket, or does not listen, is among them: a server that is to listen there is not built.
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
    /// Warns of each socket that nobody has taken: whoever connects there waits for nothing.
    pub(crate) fn warn_of_unused(&self) {
        #[cfg(unix)]
        for socket in &self.sockets {
            if matches!(socket.socket, Passed::Socket(_)) {
                let (number, name) = (socket.number, socket.name.as_deref());
                tracing::warn!(number, name, "A socket of a service manager is not listened at: name it as fd:.");
            }
        }
    }

    /// Takes the socket with this number or name. 0 is stdin, where inetd (`wait`) and systemd
    /// (`StandardInput=socket`) put it.
    pub(crate) fn take(&mut self, which: &str) -> io::Result<OwnedFd> {
        if which == "0" {
            return stdin().as_fd().try_clone_to_owned();
        }
        let is_meant = |socket: &InheritedSocket| {
            which.parse() == Ok(socket.number) || socket.name.as_deref().is_some_and(|name| name == which)
        };
        let mut meant: Vec<_> = self.sockets.iter_mut().filter(|socket| is_meant(socket)).collect();
        if let Some(socket) = meant.iter_mut().find_map(|socket| socket.socket.take()) {
            return Ok(socket);
        }
        let is_none = meant.iter().any(|socket| matches!(socket.socket, Passed::Other));
        let problem = match (&self.problem, meant.is_empty()) {
            (_, false) if is_none => "it is no socket that a server could listen at".to_owned(),
            (_, false) => "it is used already".to_owned(),
            (Some(problem), true) => format!("no sockets were passed to this process (LISTEN_FDS): {problem}"),
            (None, true) if self.sockets.is_empty() => "no sockets were passed to this process (LISTEN_FDS)".to_owned(),
            (None, true) => format!("this process was passed {}", self.list()),
        };
        Err(io::Error::new(ErrorKind::NotFound, problem))
    }

    fn left(&self) -> impl Iterator<Item = &InheritedSocket> {
        self.sockets.iter().filter(|socket| !matches!(socket.socket, Passed::Taken))
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

#[cfg(unix)]
impl Passed {
    /// Takes what was passed with this index.
    fn of(passed: &mut listenfd::ListenFd, index: usize) -> Self {
        let tcp = passed.take_tcp_listener(index).ok().flatten().map(OwnedFd::from);
        let socket = tcp.or_else(|| passed.take_unix_listener(index).ok().flatten().map(OwnedFd::from));
        let socket = socket.or_else(|| passed.take_udp_socket(index).ok().flatten().map(OwnedFd::from));
        let socket = socket.or_else(|| passed.take_unix_datagram(index).ok().flatten().map(OwnedFd::from));
        socket.map_or(Self::Other, Self::Socket)
    }

    fn take(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(self, Self::Taken) {
            Self::Socket(socket) => Some(socket),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// Returns why the environment passes no sockets to this process though it speaks of some.
#[cfg(unix)]
fn problem_of(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<InheritedError> {
    let text = |name: &str| variable(name).filter(|value| !value.is_empty());
    let number = text("LISTEN_FDS")?;
    let is_number =
        number.to_str().and_then(|number| number.parse().ok()).is_some_and(|number: usize| number <= MAX_SOCKETS);
    if !is_number {
        return Some(InheritedError::NoNumber(number.to_string_lossy().into_owned()));
    }
    let (pid, own) = (text("LISTEN_PID")?, std::process::id());
    let is_ours = pid.to_str().is_some_and(|pid| pid.parse() == Ok(own));
    (!is_ours).then(|| InheritedError::AnotherProcess { pid: pid.to_string_lossy().into_owned(), own })
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
        let socket = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let sockets = names.iter().map(|(number, name)| InheritedSocket {
            number: *number,
            name: name.map(Into::into),
            socket: Passed::Socket(socket()),
        });
        InheritedSockets { sockets: sockets.collect(), problem: None }
    }

    fn refusal(sockets: &mut InheritedSockets, which: &str) -> String {
        sockets.take(which).unwrap_err().to_string()
    }

    #[test]
    fn a_socket_is_taken_by_number_or_name_and_once() {
        let mut sockets = inherited(&[(3, Some("mail")), (4, None), (5, Some("mail"))]);
        assert_eq!(sockets.addresses(), ["fd:3", "fd:4", "fd:5"]);
        assert!(sockets.take("4").is_ok() && sockets.take("mail").is_ok() && sockets.take("mail").is_ok());
        assert_eq!(sockets.addresses().len(), 0);
        assert_eq!(refusal(&mut sockets, "3"), "it is used already");
        for which in ["6", "male"] {
            assert_eq!(refusal(&mut sockets, which), "this process was passed fd:3 (mail), fd:4, fd:5 (mail)");
        }
        let none = &mut InheritedSockets::default();
        assert_eq!(refusal(none, "3"), "no sockets were passed to this process (LISTEN_FDS)");
    }

    #[test]
    fn what_is_no_socket_is_an_address_that_cannot_be_had() {
        let mut sockets = inherited(&[(3, Some("mail")), (4, Some("mail"))]);
        sockets.sockets[0].socket = Passed::Other;
        assert_eq!(sockets.addresses(), ["fd:3", "fd:4"]);
        assert!(sockets.take("mail").is_ok());
        for which in ["mail", "3"] {
            assert_eq!(refusal(&mut sockets, which), "it is no socket that a server could listen at");
        }
    }

    #[test]
    fn an_environment_that_passes_nothing_here_says_why() {
        let problem = |number: &'static str, pid: &str| {
            let pid = pid.to_owned();
            problem_of(&move |name| Some(if name == "LISTEN_FDS" { number.into() } else { pid.clone().into() }))
        };
        let own = std::process::id();
        for (number, pid) in [("1", own.to_string()), ("0", own.to_string()), ("2", String::new()), ("", "1".into())] {
            assert_eq!(problem(number, &pid), None, "{number} {pid}");
        }
        for number in ["abc", "-1", "1000000000", " 1"] {
            assert_eq!(problem(number, "1"), Some(InheritedError::NoNumber(number.to_owned())));
        }
        let another = problem("1", "1");
        let mut sockets = InheritedSockets { sockets: Vec::new(), problem: another };
        assert_eq!(
            refusal(&mut sockets, "3"),
            format!(
                "no sockets were passed to this process (LISTEN_FDS): they are for another process: LISTEN_PID is \"1\", \
                 and this one is {own}"
            )
        );
    }
}
