//! TLS as the server's options have it.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use greeter_tests::client::{PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, greeter_client, greeter_server};
use rustix::process::Signal;
use rustls::ClientConfig;

use crate::kit::{Authority, Identity, NAME, TlsClient, TlsEnd, VERSIONS, World, socket_to, socket_with_buffers};

/// The server with this certificate, and these arguments besides.
pub(crate) fn start(certificate: &Path, key: &Path, arguments: &[&str]) -> TestedServer {
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "tls:127.0.0.1:0"]).arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    command.args(arguments);
    TestedServer::start_command(command)
}

/// The server with a certificate of that world.
pub(crate) fn start_in(world: &World, arguments: &[&str]) -> TestedServer {
    let (certificate, key) = world.identity("server", &[NAME, "localhost", "127.0.0.1"]);
    start(&certificate, &key, arguments)
}

#[test]
fn what_cannot_be_is_said_before_anybody_can_connect() {
    let world = World::new();
    let (certificate, key) = world.identity("one", &[NAME]);
    let (_, other_key) = world.identity("two", &[NAME]);
    let text = world.directory.file("text");
    fs::write(&text, "no PEM\n").unwrap();
    let [certificate, key, other_key, text] =
        [&certificate, &key, &other_key, &text].map(|path| path.to_str().unwrap());
    let missing = format!("{text}-missing");
    for (arguments, reason) in [
        (&["--tls-cert", certificate][..], "--tls-cert and --tls-key belong together: there are 1 and 0".to_owned()),
        (&["--tls-key", key], "--tls-cert and --tls-key belong together: there are 0 and 1".to_owned()),
        (&[], "an address with tls: needs --tls-cert and --tls-key".to_owned()),
        (&["--tls-client-ca", certificate], "--tls-client-ca needs --tls-cert and --tls-key".to_owned()),
        (
            &["--tls-cert", certificate, "--tls-key", other_key],
            format!("{other_key} is not the key of the certificate in {certificate}"),
        ),
        (&["--tls-cert", &missing, "--tls-key", key], format!("cannot read {missing}: No such file or directory")),
        (&["--tls-cert", certificate, "--tls-key", &missing], format!("cannot read {missing}: No such file")),
        (&["--tls-cert", text, "--tls-key", key], format!("{text} has no certificate in PEM")),
        (&["--tls-cert", certificate, "--tls-key", text], format!("{text} has no private key in PEM")),
        (&["--tls-cert", certificate, "--tls-key", certificate], format!("{certificate} has no private key in PEM")),
        (&["--tls-cert", key, "--tls-key", key], format!("{key} has no certificate in PEM")),
        (
            &["--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", text],
            format!("{text} has no certificate in PEM"),
        ),
        (&["--tls-client-auth", "maybe"], "use optional or required".to_owned()),
    ] {
        let mut command = Command::new(greeter_server());
        let output = command.args(["--listen", "tls:127.0.0.1:0"]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(&reason), "{said}, not {reason}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn our_own_client_is_greeted_at_the_address_that_the_server_says() {
    let world = World::new();
    let server = start_in(&world, &[]);
    let address = format!("tls:{}", server.address());
    let mut command = Command::new(greeter_client());
    command.args(["--connect", &address, "--tls-ca"]).arg(world.ca()).args(["greet", "Bob", "Eve"]);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello, Bob\nHello, Eve\n", "{output:?}");
    // One that does not trust it is not.
    let mut command = Command::new(greeter_client());
    let output = command.args(["--connect", &address, "greet", "Bob"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b""[..]), "{output:?}");
}

#[test]
fn why_a_client_is_refused_is_in_the_log_and_nothing_that_it_has_sent() {
    let world = World::new();
    let ca = world.ca();
    let mut server = start_in(&world, &["--log", "debug", "--tls-client-ca", ca.to_str().unwrap()]);
    let stranger = Authority::new("theirs").issue(&["evil.test"]);
    let expired = world.authority.issue_expired(&["evil.test"]);
    let own = Identity::self_signed(&["evil.test"]);
    for own in [None, Some(&stranger), Some(&expired), Some(&own)] {
        let config = world.authority.client(&[VERSIONS[0]], own);
        assert!(TlsClient::new(socket_to(server.address()), &config).try_handshake().is_err());
    }
    socket_to(server.address()).write_all(b"GET /evil HTTP/1.1\r\n\r\n").unwrap();
    // Of what a client has heard the end of, the log has it as well.
    let good = world.authority.issue(&["bob.test"]);
    let mut client = TlsClient::connect(server.address(), &world.authority.client(&VERSIONS, Some(&good)));
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    client.finish_sending();
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    for reason in [
        "the client sent no certificate",
        "the client's certificate is from an unknown authority",
        "the client's certificate has expired, or is not valid yet",
        "what was sent is not TLS",
    ] {
        assert!(log.contains(reason), "{reason} is not in {log}");
    }
    assert!(!log.contains("evil"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

/// A certificate that is not valid now is used all the same, and is said when it is read.
#[test]
fn a_certificate_that_has_expired_is_warned_of_each_time_that_it_is_read() {
    let world = World::new();
    let later = |params: &mut rcgen::CertificateParams| params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    let (certificate, key) = world.authority.issue_expired(&[NAME]).write(&world.directory, "server");
    let mut server = start(&certificate, &key, &["--log", "warn"]);
    // A chain that begins with a good one.
    let good = world.authority.issue(&[NAME]);
    let expired = world.authority.issue_with(&[NAME], later);
    let next = Identity { certificate: good.certificate.clone() + &expired.certificate, key: good.key };
    next.write(&world.directory, "server");
    wait_until("the new certificate is shown", || {
        TlsClient::new(socket_to(server.address()), &world.authority.trusting(&VERSIONS)).try_handshake().is_ok()
    });
    let own = Identity::self_signed(&[NAME]);
    own.write(&world.directory, "server");
    wait_until("the new certificate is shown", || {
        TlsClient::new(socket_to(server.address()), &world.authority.trusting(&VERSIONS)).try_handshake().is_err()
    });
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    let file = certificate.display();
    for said in [
        format!(
            "A certificate is not valid now, and clients refuse it. file={file} number=1 problem=\"it has expired\""
        ),
        format!(
            "A certificate is not valid now, and clients refuse it. file={file} number=2 problem=\"its time has not come\""
        ),
    ] {
        assert_eq!(log.matches(&said).count(), 1, "{log}");
    }
    assert_eq!(log.matches("is not valid now").count(), 2, "{log}");
}

/// The certificate that a new client is shown.
fn shown(server: &TestedServer, world: &World) -> Vec<u8> {
    let client = TlsClient::connect(server.address(), &world.authority.trusting(&VERSIONS));
    client.tls.peer_certificates().expect("the server has one")[0].to_vec()
}

/// Makes a link lead there in one step, as Kubernetes does.
fn swap_link(link: &Path, to: &str) {
    let next = link.with_file_name("next");
    std::os::unix::fs::symlink(to, &next).expect("the folder is ours");
    fs::rename(next, link).expect("the folder is ours");
}

/// Comes and goes until it is over, beside one that stays, and counts the visits.
fn visit_until(is_over: &AtomicBool, visits: &AtomicU64, address: SocketAddr, config: &Arc<ClientConfig>) {
    let mut stays = TlsClient::connect(address, config);
    while !is_over.load(Ordering::Relaxed) {
        let mut client = TlsClient::connect(address, config);
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        client.finish_sending();
        assert_eq!(client.rest(), (String::new(), TlsEnd::CloseNotify));
        assert_eq!(stays.ask("Eve"), "Hello, Eve\n");
        visits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn certificates_change_under_load_and_nobody_notices() {
    let world = World::new();
    let directory = TestDirectory::new();
    // `tls.pem` leads to `..data/tls.pem`, and `..data` to one folder or the other.
    for folder in ["a", "b"] {
        fs::create_dir(directory.file(folder)).unwrap();
    }
    let write = |folder: &str, identity: &Identity| {
        fs::write(directory.file(folder).join("tls.key"), &identity.key).unwrap();
        fs::write(directory.file(folder).join("tls.pem"), &identity.certificate).unwrap();
    };
    write("a", &world.authority.issue(&[NAME]));
    swap_link(&directory.file("..data"), "a");
    let [certificate, key] = ["tls.pem", "tls.key"].map(|name| {
        std::os::unix::fs::symlink(Path::new("..data").join(name), directory.file(name)).unwrap();
        directory.file(name)
    });
    let mut server = start(&certificate, &key, &["--log", "warn"]);
    let (is_over, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for version in VERSIONS {
            let (address, config) = (server.address(), world.authority.trusting(&[version]));
            let (is_over, visits) = (&is_over, &visits);
            scope.spawn(move || visit_until(is_over, visits, address, &config));
        }
        let mut latest = shown(&server, &world);
        let mut has_changed = |what: &str| {
            wait_until(what, || shown(&server, &world) != latest);
            latest = shown(&server, &world);
        };
        // By a link, as a whole.
        write("b", &world.authority.issue(&[NAME]));
        swap_link(&directory.file("..data"), "b");
        has_changed("the link leads elsewhere");
        write("a", &world.authority.issue(&[NAME]));
        swap_link(&directory.file("..data"), "a");
        has_changed("the link leads back");
        // In place, one file after the other.
        for _ in 0..2 {
            write("a", &world.authority.issue(&[NAME]));
            has_changed("the files were written again");
        }
        // One of them long after the other, and cut short at first.
        let next = world.authority.issue(&[NAME]);
        fs::write(&certificate, &next.certificate.as_bytes()[..100]).unwrap();
        let seen = visits.load(Ordering::Relaxed);
        wait_until("there were visits meanwhile", || visits.load(Ordering::Relaxed) > seen + 20);
        thread::sleep(Duration::from_millis(1_200));
        fs::write(&certificate, &next.certificate).unwrap();
        thread::sleep(Duration::from_millis(1_200));
        fs::write(&key, &next.key).unwrap();
        has_changed("the other half is there");
        is_over.store(true, Ordering::Relaxed);
    });
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    assert!(log.contains("keeps those it has"), "{log}");
}

#[test]
fn ciphertext_that_is_unsent_at_a_stop_is_not_lost() {
    const LINES: usize = 6_000;
    let world = World::new();
    let mut server = start_in(&world, &["--drain", "60s", "--log", "info"]);
    let mut readers = Vec::new();
    for version in VERSIONS {
        let socket = socket_with_buffers(server.address(), 64 * 1024);
        let mut client = TlsClient::over(socket, &world.authority.trusting(&[version]));
        let ciphertext: Vec<u8> = (0..LINES).flat_map(|n| client.seal(format!("{n:01000}\n"))).collect();
        // Its thread may be stuck until the end.
        let mut socket = client.socket.try_clone().unwrap();
        let sent = thread::spawn(move || socket.write_all(&ciphertext));
        readers.push((client, sent));
    }
    wait_until("all is stuck", || readers.iter().all(|(client, _)| is_full(&client.socket)));
    server.signal(Signal::TERM);
    for (mut client, sent) in readers {
        let (said, end) = client.rest();
        assert_eq!(end, TlsEnd::CloseNotify);
        let replies = said.lines().count();
        assert!(replies > 100, "{replies}");
        said.lines().zip(0..).for_each(|(line, n)| assert_eq!(line, format!("Hello, {n:01000}")));
        drop(client);
        let _ = sent.join().unwrap();
    }
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && !log.contains("WARN"), "{log}");
}

/// Whether there is as much to read as fits.
fn is_full(socket: &TcpStream) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|bytes| bytes > 1_000)
}

#[test]
fn a_load_over_tls_has_no_errors() {
    let world = World::new();
    let server = start_in(&world, &["--log", "warn"]);
    let mut command = Command::new(greeter_client());
    command.args(["--connect", &format!("tls:{}", server.address()), "--tls-ca"]).arg(world.ca());
    command.args(["load", "--connections", "20", "--pipeline", "16", "--warmup", "100ms", "--duration", "500ms"]);
    let output =
        command.args(["--line", "Bob {{#}}", "--expect", "Hello, {{line}}"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
