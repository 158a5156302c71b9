//! Turns a [`Route`] into a connected socket, within a timeout.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(unix)]
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::address::{AddressKind, ServerAddress};
use super::deadline::Deadline;
use super::error::{ConnectError, ConnectionError, TlsFailure};
use super::proxy::Proxy;
use super::socket::RawSocket;
use super::tls::{ClientTlsSession, TlsClient};

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) address: ServerAddress,
    /// What its name stands for, if that is known already.
    pub(crate) resolved: Option<SocketAddr>,
    /// The address of this machine to connect from; by default the system chooses it.
    pub(crate) from: Option<IpAddr>,
    /// What is sent first.
    pub(crate) proxy: Option<Proxy>,
    /// Whom TLS trusts, and who we are in it; by default, whom the system trusts, and nobody.
    pub(crate) tls: Option<TlsClient>,
    /// For all of it together, resolving included; a host with several addresses shares it among
    /// them.
    pub(crate) timeout: Option<Duration>,
}

impl Route {
    /// The start of TLS there.
    pub(crate) fn tls_session(&self) -> Result<ClientTlsSession, TlsFailure> {
        let client = match &self.tls {
            Some(client) => client,
            None => TlsClient::system()?,
        };
        client.session(self.address.host())
    }

    pub(crate) fn to(address: ServerAddress, timeout: Option<Duration>) -> Self {
        Self { address, resolved: None, from: None, proxy: None, tls: None, timeout }
    }
}

/// An attempt to connect, and when it began.
pub(super) struct Connecting<'a> {
    route: &'a Route,
    start: Instant,
}

impl<'a> Connecting<'a> {
    pub(super) fn start(route: &'a Route) -> Self {
        Self { route, start: Instant::now() }
    }

    /// Connects, and sends the header if there is one.
    pub(super) fn connect(&self) -> Result<RawSocket, ConnectError> {
        let socket = match &self.route.address.kind {
            AddressKind::Tcp { host, port } => self.tcp(host, *port),
            #[cfg(unix)]
            AddressKind::Unix(path) => self.unix(UnixAddress::from_pathname(path)),
            #[cfg(target_os = "linux")]
            AddressKind::Abstract(name) => self.unix(UnixAddress::from_abstract_name(name)),
        }?;
        if let Some(proxy) = self.route.proxy {
            let header = proxy.to_bytes(socket.inet_ends());
            socket.write_all(&header, &self.deadline()).map_err(|error| match error {
                ConnectionError::Lost(source) => self.failed(source),
                _ => self.timed_out(),
            })?;
        }
        Ok(socket)
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::from(self.start, self.route.timeout)
    }

    fn tcp(&self, host: &str, port: u16) -> Result<RawSocket, ConnectError> {
        let addresses = match self.route.resolved {
            Some(address) => vec![address],
            None => self.resolve(host, port)?,
        };
        self.first_of(&addresses).map(RawSocket::Tcp)
    }

    #[cfg(unix)]
    fn unix(&self, address: io::Result<UnixAddress>) -> Result<RawSocket, ConnectError> {
        let has_source = self.route.from.is_some();
        // A full backlog makes this wait, and std has no timeout for it.
        let stream = self.limited(move || match has_source {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket has no source address")),
            false => UnixStream::connect_addr(&address?),
        })?;
        stream.map(RawSocket::Unix).map_err(|source| self.failed(source))
    }

    /// Connects to the first of `addresses` that accepts.
    fn first_of(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (tried, address) in addresses.iter().enumerate() {
            let share = (addresses.len() - tried).try_into().unwrap_or(u32::MAX);
            // An address that swallows packets must not use up the time of those behind it.
            let time = self.remaining()?.map(|remaining| (remaining / share).max(Duration::from_nanos(1)));
            let connected = match (self.route.from, time) {
                (Some(source), time) => connect_bound(source, *address, time),
                (None, Some(time)) => TcpStream::connect_timeout(address, time),
                (None, None) => TcpStream::connect(address),
            };
            // Without this, a line that is sent while another is unacknowledged waits for up to
            // 40 ms.
            match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => return Ok(stream),
                Err(err) => failure = err,
            }
        }
        // std's own timeout bears no number of the system's.
        match failure.kind() {
            io::ErrorKind::TimedOut if failure.raw_os_error().is_none() => Err(self.timed_out()),
            _ => Err(self.failed(failure)),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let name = host.to_owned();
        // The system's resolver waits as long as it likes.
        let resolved = self.limited(move || Ok((name, port).to_socket_addrs()?.collect()))?;
        resolved.map_err(|source| ConnectError::Resolve { address: self.route.address.clone(), source })
    }

    /// Does on another thread what knows no timeout. Where the time is up, the thread is left to
    /// itself.
    fn limited<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, ConnectError> {
        let Some(remaining) = self.remaining()? else { return Ok(act()) };
        let (sender, receiver) = mpsc::sync_channel(1);
        let started = thread::Builder::new().name("connect".into()).spawn(move || {
            // Nobody listens any more where the time was up.
            let _ = sender.send(act());
        });
        match started {
            Ok(_) => receiver.recv_timeout(remaining).map_err(|_| self.timed_out()),
            Err(err) => Ok(Err(err)),
        }
    }

    /// How much of the timeout is left; `None`: there is none.
    fn remaining(&self) -> Result<Option<Duration>, ConnectError> {
        let Some(timeout) = self.route.timeout else { return Ok(None) };
        match timeout.saturating_sub(self.start.elapsed()) {
            Duration::ZERO => Err(self.timed_out()),
            remaining => Ok(Some(remaining)),
        }
    }

    fn timed_out(&self) -> ConnectError {
        ConnectError::TimedOut {
            address: self.route.address.clone(),
            timeout: self.route.timeout.unwrap_or(Duration::MAX),
        }
    }

    pub(super) fn failed(&self, source: io::Error) -> ConnectError {
        ConnectError::Connect { address: self.route.address.clone(), source }
    }
}

fn connect_bound(source: IpAddr, address: SocketAddr, time: Option<Duration>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match time {
        Some(time) => socket.connect_timeout(&address.into(), time)?,
        None => socket.connect(&address.into())?,
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn connect(addresses: &[SocketAddr]) -> Result<SocketAddr, ConnectError> {
        let route = Route::to("name:1".parse().unwrap(), Some(TIMEOUT));
        Connecting::start(&route).first_of(addresses).map(|stream| stream.peer_addr().unwrap())
    }

    #[test]
    fn the_address_behind_one_that_refuses_is_tried() {
        let refusing = listener().1;
        let (_open, accepting) = listener();
        assert_eq!(connect(&[refusing, accepting]).unwrap(), accepting);
        assert!(matches!(connect(&[accepting, refusing]), Ok(address) if address == accepting));
        assert!(matches!(connect(&[refusing, refusing]), Err(ConnectError::Connect { .. })));
        assert!(matches!(connect(&[]), Err(ConnectError::Connect { .. })));
    }

    /// Linux drops who comes when a listener's queue is full.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_address_behind_one_that_is_silent_has_its_share_of_the_time() {
        let (_full, silent) = listener();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&silent, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        let (_open, accepting) = listener();
        let start = Instant::now();
        assert_eq!(connect(&[silent, accepting]).unwrap(), accepting);
        assert!(start.elapsed() < TIMEOUT * 3 / 4, "{:?}", start.elapsed());
    }
}
