//! Sockets that clients connect to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use greeter_core::Address;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// How many connections the system may make before they are accepted. It takes less where its own limit is lower
/// (`net.core.somaxconn`).
pub(crate) const BACKLOG: usize = 4096;

/// When a client is asked whether it is still there, by TCP itself: after so long without a packet, so often, so long apart. Whoever has
/// vanished without a word is gone after 90 s. What stands between the two may forget a silent connection after some minutes, and each
/// question keeps it known.
const KEEPALIVE: TcpKeepalive = {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd", windows))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    keepalive
};

/// Listens on an address of TCP, and returns it with its real port.
pub(crate) fn listen_on(address: SocketAddr) -> io::Result<(Address, TcpListener)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a server come back while old connections are still winding up. On Windows it would let somebody else
    // take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Whoever is accepted has it from the listener, at no further call.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).expect("the backlog is a small number"))?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    Ok((listener.local_addr()?.into(), listener))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn whoever_is_accepted_is_asked_by_tcp_whether_it_is_still_there() {
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
