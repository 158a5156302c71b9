//! `starttls`: TLS on a connection that is open.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greeter_client::session::{SessionOptions, Target};
use greeter_client::{ServerAddress, Session, SessionError, TlsFailure};
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::kit::{
    Authority, Folder, Outcome, Server, accept_tls, client_of, end, greet, read_line, read_to_the_end, serve,
    server_config, stay_silent,
};

const SCRIPT: &str =
    "require tls\n# TLS begins behind the go-ahead.\n> STARTTLS\n< go\nstarttls\n> Bob\n< Hello, Bob\n";

fn world(name: &str) -> (Authority, Folder, Arc<ServerConfig>) {
    let authority = Authority::new("ours");
    let config = server_config(&authority.issue(&["localhost"]), None, ALL_VERSIONS);
    let folder = Folder::new(name, &[("a.talk", SCRIPT)]);
    authority.write(&folder);
    (authority, folder, config)
}

/// A server's address, by the name in its certificate.
fn by_name<T>(server: &Server<T>) -> ServerAddress {
    server.address.to_string().replace("127.0.0.1", "localhost").parse().unwrap()
}

fn run<T>(folder: &Folder, server: &Server<T>) -> Outcome {
    folder.run(&["--connect", &by_name(server).to_string(), "--tls-ca=ca.pem", "run", "a.talk"])
}

/// Takes the request, and says so with these bytes.
fn go_ahead(mut socket: &TcpStream, bytes: &[u8]) {
    assert_eq!(read_line(socket), b"STARTTLS\n");
    socket.write_all(bytes).unwrap();
}

#[test]
fn what_is_said_after_it_is_encrypted() {
    let (_, folder, config) = world("starttls");
    let server = serve(move |socket| {
        go_ahead(&socket, b"go\n");
        greet(accept_tls(&config, socket));
    });
    let outcome = run(&folder, &server);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome:?}");
}

#[test]
fn a_report_has_it_in_its_place_and_no_blank_behind_it() {
    let (_, folder, config) = world("starttls-report");
    std::fs::write(folder.0.join("a.talk"), SCRIPT.replace("< Hello, Bob", "< Hello, Rob")).unwrap();
    let server = serve(move |socket| {
        go_ahead(&socket, b"go\n");
        greet(accept_tls(&config, socket));
    });
    let outcome = run(&folder, &server);
    let report = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(report.contains("      < go\n      starttls\n      > Bob\n"), "{report}");
}

#[test]
fn a_crowd_starts_it_one_by_one() {
    let (_, folder, config) = world("starttls-crowd");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string().replace("127.0.0.1", "localhost");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, config) = (socket.unwrap(), Arc::clone(&config));
            thread::spawn(move || {
                go_ahead(&socket, b"go\n");
                greet(accept_tls(&config, socket));
            });
        }
    });
    let script = "connect c x5\nc> STARTTLS\nc< go\nstarttls c.3\nc.3> Carol\nc.3< Hello, Carol\nc.3>eof\nc.3<eof\n\
                  bob> STARTTLS\nbob< go\nstarttls bob\nbob> Bob\nbob< Hello, Bob\nstarttls c.1\nc.1> Ann\nc.1< Hello, Ann\n\
                  abandon\n";
    std::fs::write(folder.0.join("a.talk"), script).unwrap();
    let outcome = folder.run(&["--connect", &address, "--tls-ca=ca.pem", "run", "a.talk"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let script = "connect c x5\nc> STARTTLS\nc< go\nstarttls c\nc> guest {{#}}\nc< Hello, guest {{#}}\n";
    std::fs::write(folder.0.join("a.talk"), script).unwrap();
    let outcome = folder.run(&["--connect", &address, "--tls-ca=ca.pem", "run", "a.talk"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

/// CVE-2011-0411, from the other side: what somebody in between puts behind the go-ahead must not
/// be taken for what the server says under TLS.
#[test]
fn what_comes_with_the_go_ahead_is_refused() {
    let (_, folder, config) = world("starttls-injected");
    let server = serve(move |socket| {
        go_ahead(&socket, b"go\nHello, Bob\n");
        let mut stream = accept_tls(&config, socket);
        let _ = stream.read(&mut [0]);
    });
    let outcome = run(&folder, &server);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let report = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let words = "      > STARTTLS\n      < go\n      starttls\n    the connection: cannot start TLS: 11 bytes had come \
                 before it and are unread: they must not count as encrypted\n";
    assert!(report.contains(words), "{report}");
}

#[test]
fn what_comes_in_plain_after_it_is_no_tls() {
    let (_, folder, _) = world("starttls-plain");
    let server = serve(|mut socket| {
        go_ahead(&socket, b"go\n");
        // The client has begun.
        socket.read_exact(&mut [0]).unwrap();
        socket.write_all(b"Hello, Bob\n").unwrap();
        read_to_the_end(socket);
    });
    let outcome = run(&folder, &server);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let report = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(report.contains(r"the server does not speak TLS: it said 'Hello, Bob\n'"), "{report}");
}

/// A session to a server that has given the go-ahead, which has been read.
fn ready<T>(server: &Server<T>, authority: &Authority, folder: &Folder) -> Session {
    let mut target = Target::from(by_name(server));
    target.tls = Some(client_of(authority, folder));
    let mut session = Session::new(SessionOptions::to(target));
    session.on("bob").send("STARTTLS").unwrap();
    session.on("bob").expect("go").unwrap();
    session
}

#[track_caller]
fn failure(outcome: Result<(), SessionError>) -> TlsFailure {
    match outcome {
        Err(SessionError::StartTls { connection, source }) if connection == "bob" => source,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn it_is_started_once_and_ends_as_tls_does() {
    let (authority, folder, config) = world("starttls-once");
    let server = serve(move |socket| {
        go_ahead(&socket, b"go\n");
        let mut stream = accept_tls(&config, socket);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        end(&mut stream);
        bytes
    });
    let mut session = ready(&server, &authority, &folder);
    session.on("bob").start_tls().unwrap();
    assert!(matches!(failure(session.on("bob").start_tls()), TlsFailure::Already));
    session.on("bob").send("Bob").unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), b"Bob\n");
}

#[test]
fn a_server_that_does_not_begin_or_leaves_is_told() {
    let (authority, folder, _) = world("starttls-silent");
    let silent = serve(|socket| {
        go_ahead(&socket, b"go\n");
        stay_silent(socket);
    });
    let mut session = ready(&silent, &authority, &folder);
    let late = failure(session.on("bob").within(Duration::from_millis(200)).start_tls());
    assert!(matches!(late, TlsFailure::TimedOut { timeout } if timeout == Duration::from_millis(200)), "{late:?}");

    let leaving = serve(|socket| {
        go_ahead(&socket, b"go\n");
        let _ = (&socket).read(&mut [0; 4096]);
    });
    let mut session = ready(&leaving, &authority, &folder);
    assert!(matches!(failure(session.on("bob").start_tls()), TlsFailure::Closed));
}

#[test]
fn a_certificate_that_is_not_good_is_told() {
    let (_, folder, config) = world("starttls-certificate");
    let server = serve(move |socket| {
        go_ahead(&socket, b"go\n");
        greet(accept_tls(&config, socket));
    });
    let mut session = ready(&server, &Authority::new("another"), &folder);
    assert!(matches!(failure(session.on("bob").start_tls()), TlsFailure::UnknownIssuer));
}
