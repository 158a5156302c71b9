//! Turns addresses into listening sockets. Must not accept.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use greeter_core::Address;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// How many connections the system may make before they are accepted. It takes fewer where its own
/// limit is lower (`net.core.somaxconn`).
pub(crate) const BACKLOG: usize = 4096;

/// TCP keepalive for clients: the first probe after this long without a packet, then so many, so
/// far apart. A client that has vanished is noticed after 90 s. Routers in between may forget a
/// silent connection after some minutes, and each probe keeps it known.
const KEEPALIVE: TcpKeepalive = {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd", windows))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    keepalive
};

/// Listens on a TCP address, and returns it with its real port.
pub(crate) fn listen_on(address: SocketAddr) -> io::Result<(Address, TcpListener)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a server start again while old connections are in TIME_WAIT. On Windows it
    // would let another process take the address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // An accepted socket inherits it from the listener, without another call.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).expect("the backlog fits"))?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    Ok((listener.local_addr()?.into(), listener))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn accepted_sockets_have_tcp_keepalive() {
        let (address, listener) = listen_on(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = Socket::from(std::os::fd::OwnedFd::from(listener));
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
    }
}
