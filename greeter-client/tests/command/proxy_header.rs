//! `--proxy`, and `connect … proxy` in scripts: the header comes first, whatever the command.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use greeter_client::ServerAddress;

use crate::kit::{Folder, PATIENCE, bare_greeter_client, greeter_client, read_line, run, run_with, serve};

/// Greets everybody whose first line is a PROXY header, and tells of each header.
fn behind_a_proxy() -> (ServerAddress, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let (headers, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut output, headers) = (stream.unwrap(), headers.clone());
            thread::spawn(move || {
                let mut lines = BufReader::new(output.try_clone().unwrap()).lines();
                let header = lines.next().unwrap().unwrap();
                assert!(header.starts_with("PROXY "), "{header}");
                headers.send(header).unwrap();
                for line in lines.map_while(Result::ok) {
                    output.write_all(format!("Hello, {line}\n").as_bytes()).unwrap();
                }
            });
        }
    });
    (address, told)
}

#[test]
fn the_header_comes_before_anything_else() {
    let (address, headers) = behind_a_proxy();
    let mut command = greeter_client(&address, &["--proxy=v1 192.0.2.1:5000", "greet", "Bob"]);
    run(&mut command).is(0, "Hello, Bob\n", "");
    let port = address.to_string().replace("127.0.0.1:", "");
    assert_eq!(headers.recv_timeout(PATIENCE).unwrap(), format!("PROXY TCP4 192.0.2.1 127.0.0.1 5000 {port}"));

    run_with(&mut greeter_client(&address, &["--proxy=v1 local"]), "Bob\n").is(0, "Hello, Bob\n", "");
    assert_eq!(headers.recv_timeout(PATIENCE).unwrap(), "PROXY UNKNOWN");
}

#[test]
fn without_an_address_it_names_that_of_the_connection() {
    let server = serve(|stream| (read_line(&stream), stream.peer_addr().unwrap(), stream.local_addr().unwrap()));
    run(&mut greeter_client(&server.address, &["--proxy=v1"]));
    let (header, client, us) = server.outcome();
    let header = String::from_utf8(header).unwrap();
    assert_eq!(header, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.port(), us.port()));
}

#[test]
fn scripts_have_a_header_of_the_run_or_of_their_own() {
    let (address, headers) = behind_a_proxy();
    let script =
        "require proxy\nconnect bob proxy v1 [2001:db8::1]:7\n> Ann\nbob> Bob\n< Hello, Ann\nbob< Hello, Bob\n";
    let folder = Folder::new("proxy", &[("a.talk", script)]);
    let outcome = folder.run(&["--connect", &address.to_string(), "--proxy=v1 local", "run", "a.talk"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut told = [(); 2].map(|()| headers.recv_timeout(PATIENCE).unwrap());
    told.sort();
    assert!(told[0].starts_with("PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 7 "), "{told:?}");
    assert_eq!(told[1], "PROXY UNKNOWN");
}

#[test]
fn each_connection_of_a_load_has_one() {
    let (address, headers) = behind_a_proxy();
    let load = ["load", "--connections=3", "--warmup=0s", "--duration=50ms", "--line=Bob", "--expect=Hello, Bob"];
    let outcome = run(&mut greeter_client(&address, &[&["--proxy=v1 192.0.2.7:1"], &load[..]].concat()));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(headers.try_iter().filter(|header| header.starts_with("PROXY TCP4 192.0.2.7 ")).count(), 3);
}

#[test]
fn version_2_is_no_line() {
    let server = serve(|stream| {
        let mut header = [0; 28];
        std::io::Read::read_exact(&mut &stream, &mut header).unwrap();
        (header, read_line(&stream))
    });
    run_with(&mut greeter_client(&server.address, &["--proxy=v2 192.0.2.1:5000"]), "Bob\n");
    let (header, line) = server.outcome();
    assert_eq!((&header[..16], &header[16..20]), (&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 1][..]));
    assert_eq!(line, b"Bob\n");
}

#[test]
fn a_header_that_is_none_is_a_usage_error() {
    run(&mut bare_greeter_client(&["--proxy=v3", "greet", "Bob"])).is(
        2,
        "",
        "error: cannot parse option '--proxy' with value 'v3': write v1 or v2, and behind it an IP address with a port \
         or local, as in 'v2 192.0.2.1:5000'\nfor more: greeter-client --help\n",
    );
}
