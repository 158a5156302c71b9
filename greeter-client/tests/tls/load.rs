//! Loads over TLS.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::load::{self, Lines, Load, LoadError, Report};
use greeter_client::talk::Script;
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::kit::{
    Authority, Folder, TlsStream, accept_tls, client_of, end, greet, greet_over_tls, over_tls, read_line, server_config,
};

/// A short load of `line` in a closed loop, of a server whose certificate `authority` has issued.
fn load_of(address: ServerAddress, line: &str, authority: &Authority, folder: &Folder) -> Load {
    let mut lines = Lines::new([line.parse().unwrap()]);
    lines.expect = vec!["Hello, {{line}}".parse().unwrap()];
    let mut load = Load::lines(address, lines);
    load.tls = Some(client_of(authority, folder));
    load.connections = 3;
    load.warmup = Duration::ZERO;
    load.duration = Duration::from_millis(300);
    load
}

#[track_caller]
fn run(load: Load) -> Report {
    load::start(load).unwrap().finish().unwrap()
}

fn world(name: &str) -> (Authority, Folder, Arc<ServerConfig>) {
    let authority = Authority::new("ours");
    let config = server_config(&authority.issue(&["localhost"]), None, ALL_VERSIONS);
    (authority, Folder::new(name, &[]), config)
}

/// Does `session` with each client, for as long as the test runs.
fn each(config: &Arc<ServerConfig>, session: fn(TlsStream)) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = over_tls(&listener.local_addr().unwrap().into());
    let config = Arc::clone(config);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let stream = accept_tls(&config, socket.unwrap());
            thread::spawn(move || session(stream));
        }
    });
    address
}

#[test]
fn every_reply_is_right() {
    let (authority, folder, config) = world("load");
    let address = greet_over_tls(&config, 0, |_| ());
    let report = run(load_of(address.clone(), "guest {{#}}", &authority, &folder));
    assert_eq!(report.errors(), 0, "{report}");
    let mut open = load_of(address, "guest {{#}}", &authority, &folder);
    open.rate = Some("200/s".parse().unwrap());
    let report = run(open);
    assert_eq!((report.latency().lines(), report.errors()), (60, 0), "{report}");
}

/// More is in flight than a socket holds, both ways, and more comes in a piece than TLS gives out
/// in one.
#[test]
fn long_pipelines_fill_everything_and_go_on() {
    let (authority, folder, config) = world("load-pipeline");
    // Answers when it has read a whole pipeline, of which it leaves the start to wait for a while,
    // and then all at once.
    let address = each(&config, |mut stream| {
        let mut lines = vec![0; 20_000 * 501];
        while stream.read_exact(&mut lines[..1]).is_ok() {
            thread::park_timeout(Duration::from_millis(50));
            if stream.read_exact(&mut lines[1..]).is_err() {
                break;
            }
            let replies: Vec<u8> = lines.chunks(501).flat_map(|line| [b"Hello, ", line].concat()).collect();
            if stream.write_all(&replies).is_err() {
                break;
            }
        }
        end(&mut stream);
    });
    let mut load = load_of(address, &"x".repeat(500), &authority, &folder);
    load.pipeline = 20_000;
    load.duration = Duration::from_millis(600);
    let report = run(load);
    assert_eq!(report.errors(), 0, "{report}");
    assert!(report.latency().lines() >= 60_000, "{report}");
}

#[test]
fn a_server_that_leaves_is_told() {
    let (authority, folder, config) = world("load-leaves");
    let address = each(&config, |mut stream| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        end(&mut stream);
    });
    let report = run(load_of(address, "Bob", &authority, &folder));
    assert_eq!(report.connections_lost(), 3, "{report}");
}

#[test]
fn a_certificate_that_is_not_good_begins_nothing() {
    let (_, folder, config) = world("load-refused");
    let address = greet_over_tls(&config, 0, |_| ());
    let error = load::start(load_of(address, "Bob", &Authority::new("another"), &folder)).unwrap_err();
    assert!(matches!(error, LoadError::Connect(_)), "{error:?}");
}

/// The connection changes hands with its TLS, and nothing that comes is lost in between.
#[test]
fn a_script_before_the_load_leaves_its_tls_to_it() {
    let (authority, folder, config) = world("load-before");
    let address = greet_over_tls(&config, 0, |_| ());
    for pipeline in [1, 50] {
        let mut load = load_of(address.clone(), "{{name}} of {{#}}", &authority, &folder);
        load.before = Some(Script::parse("login.talk", "> Ann {{#}}\n< Hello, {{name}}\n").unwrap());
        (load.connections, load.count, load.pipeline) = (20, Some(1000), pipeline);
        let report = run(load);
        assert_eq!((report.errors(), report.latency().lines()), (0, 1000), "{report}");
    }
}

#[test]
fn tls_that_a_script_has_started_is_spoken_in_the_load() {
    let (authority, folder, config) = world("load-starttls");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, config) = (socket.unwrap(), Arc::clone(&config));
            thread::spawn(move || {
                assert_eq!(read_line(&socket), b"STARTTLS\n");
                socket.write_all(b"go\n").unwrap();
                greet(accept_tls(&config, socket));
            });
        }
    });
    let mut load = load_of(address.parse().unwrap(), "guest {{#}}", &authority, &folder);
    load.before = Some(Script::parse("tls.talk", "require tls\n> STARTTLS\n< go\nstarttls\n").unwrap());
    (load.connections, load.count) = (5, Some(200));
    let report = run(load);
    assert_eq!((report.errors(), report.latency().lines()), (0, 200), "{report}");
}
