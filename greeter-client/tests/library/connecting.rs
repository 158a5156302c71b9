//! Getting a connection, or saying why not.

use std::error::Error;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use greeter_client::{ConnectError, Connection, ConnectionOptions, ServerAddress};

use crate::kit::greeter;

/// An address where nobody listens.
fn vacant() -> ServerAddress {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().into()
}

#[test]
fn every_address_of_a_name_is_tried() {
    let server = greeter();
    // On many machines this name means ::1 first, where this server is not.
    let address: ServerAddress = server.address.to_string().replace("127.0.0.1", "localhost").parse().unwrap();
    assert_eq!(Connection::connect(&address).unwrap().ask("Bob").unwrap(), b"Hello, Bob");
}

#[test]
fn a_refused_connection_names_the_address_and_the_cause() {
    let address = vacant();
    let err = Connection::connect(&address).unwrap_err();
    assert!(matches!(err, ConnectError::Connect { .. }));
    assert_eq!(err.to_string(), format!("cannot connect to {address}"));
    assert!(err.source().unwrap().to_string().contains("refused"), "{err:?}");
}

/// Nobody accepts here; once the listener's queue is full, Linux drops who else comes.
#[cfg(target_os = "linux")]
#[test]
fn a_black_hole_is_given_up_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let mut options = ConnectionOptions::default();
    options.timeout = Some(Duration::from_millis(300));
    let mut waiting = Vec::new();
    let (err, took) = loop {
        let start = Instant::now();
        match Connection::connect_with(&address, &options) {
            Ok(connection) => waiting.push(connection),
            Err(err) => break (err, start.elapsed()),
        }
        assert!(waiting.len() < 5_000, "the queue has an end");
    };
    assert!(matches!(err, ConnectError::TimedOut { .. }), "{err:?}");
    assert_eq!(err.to_string(), format!("cannot connect to {address} within 300ms"));
    assert!(took < Duration::from_millis(800), "{took:?}");
}

#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// A path of this test's own, gone when the test is.
    struct Path(PathBuf);

    impl Path {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("greeter-client-{}-{name}.sock", std::process::id())))
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_unix_socket_is_a_server_like_any_other() {
        let path = Path::new("greets");
        let listener = UnixListener::bind(&path.0).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(format!("Hello, {line}").as_bytes()).unwrap();
        });
        let mut connection = Connection::connect(&ServerAddress::unix(&path.0)).unwrap();
        assert_eq!(connection.ask("Bob").unwrap(), b"Hello, Bob");
        assert!(matches!(connection.receive(), Ok(None)));
    }

    /// Nothing of it is in the file system, and it goes with its listener.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_unix_socket_may_have_a_name_instead_of_a_path() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        let name = format!("greeter-client-{}", std::process::id());
        let address: ServerAddress = format!("unix:@{name}").parse().unwrap();
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        let mut connection = Connection::connect(&address).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"Hello\n").unwrap();
        assert_eq!(connection.receive().unwrap(), Some(&b"Hello"[..]));
        drop(listener);
        let err = Connection::connect(&address).unwrap_err();
        assert_eq!(err.to_string(), format!("cannot connect to {address}"));

        let too_long: ServerAddress = format!("unix:@{}", "n".repeat(108)).parse().unwrap();
        assert!(matches!(Connection::connect(&too_long), Err(ConnectError::Connect { .. })));
    }

    #[test]
    fn a_missing_unix_socket_is_an_error_with_its_path() {
        let path = Path::new("missing");
        let err = Connection::connect(&ServerAddress::unix(&path.0)).unwrap_err();
        assert_eq!(err.to_string(), format!("cannot connect to unix:{}", path.0.display()));
    }
}
