//! Programs that others wrote, at both ends of TLS.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::missing_program;
use greeter_tests::process::TestedServer;
use rustix::process::Signal;

use crate::kit::{NAME, TlsClient, TlsEnd, VERSIONS, World, socket_to};
use crate::tls::{start, start_in};

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `openssl s_client` comes to that asks for Bob's greeting: that, or nothing.
fn s_client(world: &World, address: SocketAddr, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", NAME, "-servername", NAME]);
    command.arg("-CAfile").arg(world.directory.file("ca.pem")).arg("-connect").arg(address.to_string());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(command.spawn().expect("a program can be started"));
    // One that was refused may be gone.
    let _ = child.0.stdin.as_mut().expect("it is a pipe").write_all(b"Bob\n");
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("it is a pipe")).read_line(&mut line).expect("what it says is text");
    Some(line).filter(|line| !line.is_empty())
}

#[test]
fn openssl_is_greeted_in_two_versions_and_no_other() {
    if missing_program("openssl", "openssl") {
        return;
    }
    let world = World::new();
    world.ca();
    let server = start_in(&world, &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(s_client(&world, server.address(), &[version]).as_deref(), Some("Hello, Bob\n"), "{version}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let any = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"];
        assert_eq!(s_client(&world, server.address(), &[&[version], &any[..]].concat()), None, "{version}");
    }
    // Older ones are not in openssl any more: a hello by hand.
    for version in [0, 1, 2] {
        let hello = [&[3, version][..], &[7; 32], &[0, 0, 6, 0, 0x2f, 0, 0x35, 0xc0, 0x13, 1, 0]].concat();
        let message = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
        let mut socket = socket_to(server.address());
        socket.write_all(&[&[22, 3, version, 0, u8::try_from(message.len()).unwrap()][..], &message].concat()).unwrap();
        let mut said = Vec::new();
        socket.read_to_end(&mut said).unwrap();
        // An alert, and it is fatal.
        assert_eq!((said[0], &said[3..6]), (21, &[0, 2, 2][..]), "{version}: {said:?}");
    }
}

/// What of these is taken.
fn taken(world: &World, address: SocketAddr, option: &str, version: &str, names: &[String]) -> BTreeSet<String> {
    let is_taken = |name: &&String| {
        let name = if option == "-cipher" { format!("{name}:@SECLEVEL=0") } else { (*name).clone() };
        s_client(world, address, &[version, option, &name]).is_some()
    };
    names.iter().filter(is_taken).cloned().collect()
}

#[test]
fn nothing_weak_is_offered() {
    if missing_program("openssl", "openssl") {
        return;
    }
    let world = World::new();
    let listed = Command::new("openssl").args(["ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let all: Vec<String> = listed.trim().split(':').map(str::to_owned).collect();
    let (older, newer): (Vec<String>, Vec<String>) = all.into_iter().partition(|name| !name.starts_with("TLS_"));
    assert!(older.len() > 50, "{older:?}");
    let (certificate, key) = world.identity("ecdsa", &[NAME]);
    let rsa = rsa_identity(&world);
    for ((certificate, key), kind) in [((&*certificate, &*key), "ECDSA"), ((&rsa.0, &rsa.1), "RSA")] {
        if kind == "RSA" {
            fs::copy(certificate, world.directory.file("ca.pem")).unwrap();
        } else {
            world.ca();
        }
        let server = start(certificate, key, &["--log", "warn", "--max-handshakes", "64"]);
        let good = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];
        let expected = good.map(|cipher| format!("ECDHE-{kind}-{cipher}"));
        assert_eq!(taken(&world, server.address(), "-cipher", "-tls1_2", &older), expected.into());
        let all = [&newer[..], &["TLS_AES_128_CCM_SHA256".to_owned(), "TLS_AES_128_CCM_8_SHA256".to_owned()]].concat();
        let expected = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
        assert_eq!(
            taken(&world, server.address(), "-ciphersuites", "-tls1_3", &all),
            expected.map(str::to_owned).into()
        );
    }
}

/// A certificate with an RSA key.
fn rsa_identity(world: &World) -> (std::path::PathBuf, std::path::PathBuf) {
    let files = (world.directory.file("rsa.pem"), world.directory.file("rsa.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &format!("/CN={NAME}")]);
    command.args(["-addext", &format!("subjectAltName=DNS:{NAME}")]);
    let output =
        command.arg("-out").arg(&files.0).arg("-keyout").arg(&files.1).output().expect("a program can be started");
    assert!(output.status.success(), "{output:?}");
    files
}

#[test]
fn python_ends_politely_or_not() {
    const PROGRAM: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context.minimum_version = context.maximum_version = version
    for is_polite in True, False:
        plain = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        with context.wrap_socket(plain, server_hostname="greeter.test") as tls:
            tls.sendall(b"Bob\n")
            assert tls.recv(100) == b"Hello, Bob\n"
            if is_polite:
                assert tls.unwrap().recv(100) == b""
    # And the server is polite: without close_notify, this is an error.
    plain = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    with context.wrap_socket(plain, server_hostname="greeter.test", suppress_ragged_eofs=False) as tls:
        assert tls.recv(100) == b"error: idle for 200ms\n"
        assert tls.recv(100) == b""
"#;
    if missing_program("python3", "python3") {
        return;
    }
    let world = World::new();
    let mut server = start_in(&world, &["--idle-timeout", "200ms"]);
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).arg(world.ca()).arg(server.address().port().to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && log.matches("Client disconnected.").count() == 6, "{log}");
}

/// An address of this machine that is free now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port").local_addr().expect("it is bound")
}

/// A program that listens there, with this configuration.
fn configured(world: &World, mut command: Command, configuration: &str, address: SocketAddr) -> Killed {
    let file = world.directory.file("configuration");
    fs::write(&file, configuration).expect("the folder is ours");
    command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Killed(command.spawn().expect("a program can be started"));
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    child
}

fn stunnel(world: &World, service: &str, address: SocketAddr) -> Killed {
    let configuration = format!("foreground = yes\npid =\n[service]\naccept = {address}\n{service}");
    configured(world, Command::new("stunnel4"), &configuration, address)
}

fn haproxy(world: &World, frontend: &str, server: &str, address: SocketAddr) -> Killed {
    let configuration = format!(
        "defaults\n mode tcp\n timeout connect 9s\n timeout client 9s\n timeout server 9s\n\
         frontend f\n bind {address} {frontend}\n default_backend b\nbackend b\n server s {server}\n"
    );
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f"]);
    configured(world, command, &configuration, address)
}

/// A certificate and its key in one file.
fn combined(world: &World) -> std::path::PathBuf {
    let (certificate, key) = world.identity("front", &[NAME]);
    let read = |path: &Path| fs::read_to_string(path).expect("the folder is ours");
    let file = world.directory.file("combined.pem");
    fs::write(&file, read(&certificate) + &read(&key)).expect("the folder is ours");
    file
}

/// Both versions, through whatever is in front.
fn greeted_over_tls(world: &World, address: SocketAddr) {
    for version in VERSIONS {
        let mut client = TlsClient::connect(address, &world.authority.trusting(&[version]));
        for name in ["Bob".to_owned(), "x".repeat(8_000)] {
            assert_eq!(client.ask(&name), format!("Hello, {name}\n"));
        }
        client.finish_sending();
        assert_eq!(client.rest(), (String::new(), TlsEnd::CloseNotify));
    }
}

#[test]
fn stunnel_in_front_of_the_plain_server_and_as_a_client_of_ours() {
    if missing_program("stunnel4", "stunnel4") {
        return;
    }
    let world = World::new();
    let front = free_address();
    let plain = TestedServer::start(&[]);
    let service = format!("connect = {}\ncert = {}\n", plain.address(), combined(&world).display());
    let _stunnel = stunnel(&world, &service, front);
    greeted_over_tls(&world, front);

    let ours = start_in(&world, &[]);
    let front = free_address();
    let trust = format!("verifyChain = yes\ncheckHost = {NAME}\nsni = {NAME}\nCAfile = {}", world.ca().display());
    let _stunnel = stunnel(&world, &format!("client = yes\nconnect = {}\n{trust}\n", ours.address()), front);
    let mut client = Client::connect(front);
    client.send("Bob\nEve\n");
    assert_eq!(client.finish(), b"Hello, Bob\nHello, Eve\n");
}

#[test]
fn haproxy_in_front_of_the_plain_server_and_as_a_client_of_ours() {
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let world = World::new();
    let front = free_address();
    let plain = TestedServer::start(&["--proxy-protocol", "127.0.0.1"]);
    let bind = format!("ssl crt {}", combined(&world).display());
    let _haproxy = haproxy(&world, &bind, &format!("{} send-proxy-v2", plain.address()), front);
    greeted_over_tls(&world, front);

    let mut ours = start_in(&world, &["--proxy-protocol", "127.0.0.1"]);
    let front = free_address();
    let ca = world.ca();
    let to = format!(
        "{} send-proxy-v2 ssl verify required verifyhost {NAME} sni str({NAME}) ca-file {} check inter 50ms",
        ours.address(),
        ca.display()
    );
    let _haproxy = haproxy(&world, "", &to, front);
    let mut client = Client::connect(front);
    let own = client.local_addr();
    client.send("Bob\nEve\n");
    assert_eq!(client.finish(), b"Hello, Bob\nHello, Eve\n");
    drop(client);
    ours.signal(Signal::TERM);
    let (status, log) = ours.wait(PATIENCE);
    assert!(status.success() && log.contains(&format!("peer={own} via=127.0.0.1:")), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}
