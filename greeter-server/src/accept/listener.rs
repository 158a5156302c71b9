//! Turns places into sockets that listen there. Must not accept.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};

use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use socket2::{Domain, Protocol, Socket, Type};
#[cfg(unix)]
use socket2::{SockAddr, SockRef};

use crate::accept::inherited::InheritedSockets;
#[cfg(unix)]
use crate::accept::unix;
use crate::entry_rules::EntryRules;
#[cfg(unix)]
use crate::listen::UnixName;
use crate::listen::{BoundTo, ListenPlace, ListenerKind};
use crate::sockets::{BACKLOG, ListeningKind, ListeningSocket, TcpOptions};

/// Listens at a place, and returns its address with its real port.
pub(crate) fn listen_at(
    place: ListenPlace,
    inherited: &mut InheritedSockets,
    options: TcpOptions,
) -> Result<(BoundTo, ListeningSocket), (String, io::Error)> {
    let (bound, socket) = match place {
        ListenPlace::Inet(candidates) => listen_on_first(&candidates, options)?,
        #[cfg(unix)]
        ListenPlace::Unix(place) => {
            let name = place.name.to_string();
            let (listener, file) = unix::listen_on(&place).map_err(|error| (name, error))?;
            let kind = ListeningKind::Unix(UnixListener::from_std(listener), file);
            (BoundTo::Unix(place.name), ListeningSocket { kind, is_inherited: false })
        }
        #[cfg(unix)]
        ListenPlace::Opened(socket) => {
            adopt(socket, options).map_err(|error| ("the opened socket".to_owned(), error))?
        }
        #[cfg(unix)]
        ListenPlace::Inherited(which) => {
            let socket = inherited.take(&which).and_then(|socket| adopt(socket, options));
            socket.map_err(|error| (format!("fd:{which}"), error))?
        }
    };
    Ok((bound, socket))
}

/// Returns what a listener at this place is. An opened socket is told from others by what it is
/// bound to, as its duplicates are.
pub(crate) fn kind_of(place: &ListenPlace, rules: &EntryRules) -> ListenerKind {
    #[cfg(unix)]
    if let ListenPlace::Opened(socket) = place
        && let Some(bound_to) = SockRef::from(socket).local_addr().ok().as_ref().and_then(bound_to)
    {
        return ListenerKind::of(place, &bound_to, rules);
    }
    ListenerKind::of(place, place, rules)
}

/// Finds out what is wrong with a place, as far as that shows without listening there.
pub(crate) fn check_place(place: &ListenPlace) -> Result<(), (String, io::Error)> {
    match place {
        #[cfg(unix)]
        ListenPlace::Unix(place) => unix::check(place).map_err(|error| (place.name.to_string(), error)),
        _ => Ok(()),
    }
}

/// Listens on the first of the addresses that the system can listen on.
fn listen_on_first(
    candidates: &[SocketAddr],
    options: TcpOptions,
) -> Result<(BoundTo, ListeningSocket), (String, io::Error)> {
    let mut failed = None;
    for &address in candidates {
        match listen_on(address, options) {
            Ok((address, kind)) => return Ok((BoundTo::Inet(address), ListeningSocket { kind, is_inherited: false })),
            Err(error) => failed = failed.or(Some((address.to_string(), error))),
        }
    }
    Err(failed.unwrap_or_else(|| ("a name".to_owned(), io::Error::new(ErrorKind::NotFound, "it has no address"))))
}

/// Listens on a TCP address, and returns it with its real port.
fn listen_on(address: SocketAddr, options: TcpOptions) -> io::Result<(SocketAddr, ListeningKind)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a server start again while old connections are in TIME_WAIT. On Windows it
    // would let another process take the address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // On Linux an accepted socket inherits them from the listener, without another call.
    options.set_on(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).expect("the backlog fits"))?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    let address = listener.local_addr()?;
    let for_each = (!cfg!(any(target_os = "linux", target_os = "android"))).then_some(options);
    Ok((address, ListeningKind::Tcp(listener, for_each)))
}

/// Turns a socket that somebody else has opened into a listener. The options of that socket stay
/// as they are, so each connection is given its own.
#[cfg(unix)]
fn adopt(socket: OwnedFd, options: TcpOptions) -> io::Result<(BoundTo, ListeningSocket)> {
    let other = |problem: &str| io::Error::new(ErrorKind::InvalidInput, problem);
    rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    let socket = Socket::from(socket);
    let address = socket.local_addr().map_err(|_| other("it is no socket"))?;
    if socket.r#type()? != Type::STREAM {
        return Err(other("it is no stream socket"));
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        return Err(other("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    let bound = bound_to(&address).ok_or_else(|| other("it is neither a TCP nor a Unix socket"))?;
    let kind = match &bound {
        BoundTo::Inet(_) => ListeningKind::Tcp(TcpListener::from_std(socket.into()), Some(options)),
        BoundTo::Unix(_) => ListeningKind::Unix(UnixListener::from_std(OwnedFd::from(socket).into()), None),
    };
    Ok((bound, ListeningSocket { kind, is_inherited: true }))
}

/// Returns what a socket that somebody else has opened is bound to, if it is one to listen at.
#[cfg(unix)]
fn bound_to(address: &SockAddr) -> Option<BoundTo> {
    let unix = || {
        let name = address.as_pathname().map(|path| UnixName::Path(path.to_owned()));
        name.or_else(|| unix::abstract_name(address)).unwrap_or(UnixName::Abstract(Vec::new()))
    };
    let inet = address.as_socket().map(BoundTo::Inet);
    inet.or_else(|| address.is_unix().then(|| BoundTo::Unix(unix())))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::sockets::{ClientSocket, USER_TIMEOUT};
    use crate::system::Accept;
    use std::net::TcpStream;
    use std::time::Duration;

    use socket2::SockRef;

    const OPTIONS: TcpOptions = TcpOptions { keepalive: true };

    #[track_caller]
    fn assert_options_are_set(socket: &SockRef<'_>) {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn accepted_sockets_have_the_options_of_their_listener() {
        let (address, ListeningKind::Tcp(listener, for_each)) = listen_on(([127, 0, 0, 1], 0).into(), OPTIONS).unwrap()
        else {
            panic!("it listens on TCP")
        };
        assert!(for_each.is_none());
        let listener = Socket::from(OwnedFd::from(listener));
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_options_are_set(&SockRef::from(&accepted));
    }

    #[test]
    fn sockets_accepted_at_an_adopted_listener_are_given_the_options() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (BoundTo::Inet(address), adopted) = adopt(theirs.try_clone().unwrap().into(), OPTIONS).unwrap() else {
            panic!("it is a TCP socket")
        };
        assert!(!SockRef::from(&theirs).keepalive().unwrap(), "options of an adopted listener stay");
        let _client = TcpStream::connect(address).unwrap();
        let accepted = loop {
            if let Ok((ClientSocket::Tcp(accepted), _)) = adopted.accept() {
                break accepted;
            }
        };
        assert_options_are_set(&SockRef::from(&accepted));
    }

    #[test]
    fn an_adopted_listener_does_not_block_and_is_no_childs() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
        let (_, adopted) = adopt(theirs.into(), OPTIONS).unwrap();
        let ListeningKind::Tcp(listener, _) = &adopted.kind else { panic!("it is a TCP socket") };
        assert_eq!(rustix::io::fcntl_getfd(listener).unwrap(), rustix::io::FdFlags::CLOEXEC);
        assert_eq!(adopted.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(adopted.keeps_backlog());
    }

    #[test]
    fn a_hidden_socket_has_no_file_and_those_who_have_connected() {
        let path = std::env::temp_dir().join(format!("greeter-hidden-{}", std::process::id()));
        let place = crate::Listener::unix(&path).place.unwrap();
        let (_, mut socket) = listen_at(place, &mut InheritedSockets::default(), OPTIONS).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        socket.hide();
        assert!(!path.exists());
        assert!(socket.accept().is_ok() && !socket.keeps_backlog());
    }

    #[test]
    fn only_a_stream_socket_that_listens_is_adopted() {
        let problem = |socket: OwnedFd| adopt(socket, OPTIONS).unwrap_err().to_string();
        assert_eq!(problem(std::fs::File::open("/dev/null").unwrap().into()), "it is no socket");
        assert_eq!(problem(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()), "it is no stream socket");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(problem(client.into()), "it does not listen");
    }
}
