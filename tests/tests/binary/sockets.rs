//! The server at Unix sockets, and at sockets that it was started with.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{greeter_client, greeter_server};
use greeter_tests::size::tell;
use rustix::process::{Pid, Signal, kill_process};
use socket2::Socket;

/// A server, and the first lines that it has said.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) said: Vec<String>,
}

impl Started {
    pub(crate) fn new(mut command: Command, listeners: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a server can be started");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let said = stdout.lines().take(listeners).map(|line| line.expect("an address is text")).collect();
        Self { child, said }
    }

    /// Asks it to end, and returns its log.
    pub(crate) fn end(mut self) -> String {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is a pipe");
        stderr.read_to_string(&mut log).expect("a log is text");
        assert!(self.child.wait().expect("the process is ours").success(), "{log}");
        log
    }
}

/// A command whose descriptor 3 is this socket, as a service manager starts it.
pub(crate) fn started_with(socket: impl Into<OwnedFd>, names: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 </dev/null; exec "$0" "$@""#]).arg(greeter_server());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names).stdin(Stdio::from(socket.into()));
    command
}

pub(crate) fn greeted(mut client: TcpStream) -> String {
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    client.write_all(b"Bob\n").expect("nobody is reset");
    client.shutdown(Shutdown::Write).expect("nobody is reset");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("nobody is reset");
    said
}

#[test]
fn the_client_connects_to_what_the_server_says() {
    let directory = TestDirectory::new();
    let socket = directory.file("s");
    let mut command = Command::new(greeter_server());
    command.args(["--listen", &format!("unix:{},mode=0600", socket.display())]);
    let server = Started::new(command, 1);
    let address = server.said[0].strip_prefix("listening on ").unwrap();
    assert_eq!(address, format!("unix:{}", socket.display()));
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Command::new(greeter_client());
    let client = client.args(["--connect", address, "pipe"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"Bob\n").unwrap();
    assert_eq!(client.wait_with_output().unwrap().stdout, b"Hello, Bob\n");
    let log = server.end();
    let uid = rustix::process::getuid().as_raw();
    assert!(log.contains(&format!("peer=unix:uid={uid},")), "{log}");
    assert!(!socket.exists());
}

#[test]
fn sockets_of_a_service_manager_are_served_without_an_option() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    for arguments in [&[][..], &["--listen", "fd:3"], &["--listen", "fd:web"]] {
        let mut command = started_with(kept.try_clone().unwrap(), "web");
        command.args(arguments);
        let server = Started::new(command, 1);
        assert_eq!(server.said, [format!("listening on {address}")]);
        assert_eq!(greeted(TcpStream::connect(address).unwrap()), "Hello, Bob\n");
        server.end();
    }
    // Whoever comes while there is no server waits for the next.
    let waits = TcpStream::connect(address).unwrap();
    let server = Started::new(started_with(kept, ""), 1);
    assert_eq!(greeted(waits), "Hello, Bob\n");
    server.end();
}

#[test]
fn a_socket_that_nobody_serves_is_warned_of() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, is_served) in [("fd:web", true), ("127.0.0.1:0", false)] {
        let mut command = started_with(kept.try_clone().unwrap(), "web");
        command.args(["--listen", address]);
        let log = Started::new(command, 1).end();
        let warned = "A socket of a service manager is not listened at: name it as fd:. number=3";
        assert_eq!(log.contains(warned), !is_served, "{log}");
    }
}

#[test]
fn stdin_is_a_socket_as_inetd_has_it() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "fd:0"]).stdin(Stdio::from(OwnedFd::from(kept)));
    let server = Started::new(command, 1);
    assert_eq!(greeted(TcpStream::connect(address).unwrap()), "Hello, Bob\n");
    server.end();
}

#[test]
fn a_socket_that_was_not_passed_is_said() {
    for (listen, reason) in [
        ("fd:3", "cannot listen on fd:3: no sockets were passed to this process (LISTEN_FDS)"),
        ("fd:0", "cannot listen on fd:0: it is no socket"),
        ("unix:/nowhere/s", "cannot listen on unix:/nowhere/s: No such file or directory"),
        ("unix:/nowhere/s,mode=9", "9 is no mode; write it as 0660"),
        ("unix:/tmp", "cannot listen on unix:/tmp: there is a folder: choose a path in it, or another one"),
    ] {
        let mut command = Command::new(greeter_server());
        let output = command.args(["--listen", listen]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

/// What a server says that was started with this descriptor 3, and does not start.
#[track_caller]
fn does_not_start(mut command: Command) -> String {
    let output = command.output().expect("a server can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    said
}

#[test]
fn what_was_passed_and_cannot_be_served_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (passed, reason) in [
        (OwnedFd::from(connected), "it does not listen"),
        (datagrams.into(), "it is no stream socket"),
        (no_socket.into(), "it is no socket that a server could listen at"),
    ] {
        for arguments in [&[][..], &["--listen", "fd:3"]] {
            let mut command = started_with(passed.try_clone().unwrap(), "web");
            let said = does_not_start({
                command.args(arguments);
                command
            });
            assert!(said.ends_with(&format!("error: cannot listen on fd:3: {reason}\n")), "{said}");
        }
    }
    // One that is good does not hide another.
    let mut command = started_with(listener.try_clone().unwrap(), "");
    command.env("LISTEN_FDS", "2");
    let said = does_not_start(command);
    assert!(said.ends_with("error: cannot listen on fd:4: it is no socket that a server could listen at\n"), "{said}");
    let mut command = started_with(listener, "");
    command.env("LISTEN_FDS", "abc");
    let said = does_not_start(command);
    let words = "cannot use the sockets of a service manager: LISTEN_FDS is \"abc\", which is no number of sockets\n";
    assert!(said.ends_with(words), "{said}");
}

#[test]
fn sockets_for_another_process_are_not_taken_and_that_is_said() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = started_with(kept.try_clone().unwrap(), "web");
    command.env("LISTEN_PID", "1").args(["--listen", "fd:web"]);
    let said = does_not_start(command);
    assert!(said.contains("cannot listen on fd:web: ") && said.contains("LISTEN_PID is \"1\""), "{said}");
    // Without an address it listens where it does by itself, unless somebody else does.
    let mut command = started_with(kept, "web");
    let mut child = command.env("LISTEN_PID", "1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let said = first + &String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr);
    assert!(said.contains("Sockets of a service manager are not used.") && said.contains("LISTEN_PID is"), "{said}");
    assert!(said.contains("127.0.0.1:8080"), "{said}");
}

#[test]
fn a_socket_file_that_a_killed_server_left_is_replaced() {
    let directory = TestDirectory::new();
    let listen = format!("unix:{}", directory.file("s").display());
    let start = || {
        let mut command = Command::new(greeter_server());
        command.args(["--listen", &listen]);
        Started::new(command, 1)
    };
    let mut killed = start();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(directory.file("s").exists());
    let server = start();
    let mut client = BufReader::new(UnixStream::connect(directory.file("s")).unwrap());
    client.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.get_mut().write_all(b"Bob\n").unwrap();
    let mut said = String::new();
    client.read_line(&mut said).unwrap();
    assert_eq!(said, "Hello, Bob\n");
    drop(client);
    server.end();
}

#[test]
fn the_mode_of_a_socket_file_is_not_cut_by_the_umask() {
    for (listen, mode) in [("s,mode=0660", 0o660), ("s", 0)] {
        let directory = TestDirectory::new();
        let socket = directory.file("s");
        let mut command = Command::new("sh");
        command.args(["-c", r#"umask 0777; exec "$0" --listen "$1""#]).arg(greeter_server());
        command.arg(format!("unix:{}", directory.file(listen).display()));
        let server = Started::new(command, 1);
        assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, mode);
        server.end();
        assert!(!socket.exists());
    }
}

#[test]
fn a_directory_that_vanishes_keeps_no_server_from_ending() {
    let directory = TestDirectory::new();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", &format!("unix:{}", directory.file("s").display())]);
    let server = Started::new(command, 1);
    let mut client = UnixStream::connect(directory.file("s")).unwrap();
    drop(directory);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"Bob\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "Hello, Bob\n");
    server.end();
}

#[test]
fn a_relative_path_is_one_of_the_directory_where_the_server_starts() {
    let directory = TestDirectory::new();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "unix:s"]).current_dir(directory.file(""));
    let server = Started::new(command, 1);
    assert_eq!(server.said, ["listening on unix:s"]);
    assert!(UnixStream::connect(directory.file("s")).is_ok());
    server.end();
    assert!(!directory.file("s").exists());
}

/// Whoever may not write to the directory cannot listen there; whoever may not read it, can.
#[test]
fn a_directory_without_permission_is_said() {
    if rustix::process::getuid().is_root() {
        return tell("SKIPPED, since root may write to every directory");
    }
    let directory = TestDirectory::new();
    let socket = directory.file("s");
    let listen = format!("unix:{}", socket.display());
    let allow = |mode| std::fs::set_permissions(directory.file(""), Permissions::from_mode(mode)).unwrap();
    let mut command = Command::new(greeter_server());
    allow(0o500);
    let output = command.args(["--listen", &listen]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    allow(0o300);
    let server = Started::new(command, 1);
    server.end();
    allow(0o700);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("cannot listen on {listen}: Permission denied")), "{said}");
}

#[test]
fn an_address_that_is_no_text_is_refused() {
    let mut command = Command::new(greeter_server());
    let output = command.arg("--listen").arg(OsStr::from_bytes(b"unix:/nowhere/\xff")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn of_two_that_start_at_once_at_one_path_exactly_one_serves() {
    for _ in 0..20 {
        let directory = TestDirectory::new();
        drop(UnixListener::bind(directory.file("s")).unwrap());
        let mut command = Command::new(greeter_server());
        command.args(["--listen", &format!("unix:{}", directory.file("s").display())]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut children = [(); 2].map(|()| command.spawn().unwrap());
        // The one that serves says so; the other ends, and its stdout with it.
        let said = children.each_mut().map(|child| {
            let mut said = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
            said
        });
        assert_eq!(said.iter().filter(|said| said.starts_with("listening on ")).count(), 1, "{said:?}");
        let mut client = BufReader::new(UnixStream::connect(directory.file("s")).unwrap());
        client.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        client.get_mut().write_all(b"Bob\n").unwrap();
        let mut greeting = String::new();
        client.read_line(&mut greeting).unwrap();
        assert_eq!(greeting, "Hello, Bob\n");
        drop(client);
        for (child, said) in children.iter_mut().zip(said) {
            if said.is_empty() {
                assert_eq!(child.wait().unwrap().code(), Some(2));
            } else {
                kill_process(Pid::from_child(child), Signal::TERM).unwrap();
                assert!(child.wait().unwrap().success());
            }
        }
    }
}

#[test]
fn each_listener_expects_headers_of_the_proxies_that_are_named() {
    let directory = TestDirectory::new();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", &format!("unix:{}", directory.file("s").display()), "--listen", "127.0.0.1:0"]);
    command.args(["--proxy-protocol", "unix", "--proxy-protocol", "127.0.0.1"]);
    let server = Started::new(command, 2);
    let inet = server.said[1].strip_prefix("listening on ").unwrap();
    let tcp = TcpStream::connect(inet).unwrap();
    let unix = UnixStream::connect(directory.file("s")).unwrap();
    for mut client in [Socket::from(tcp), Socket::from(unix)] {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\nBob\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "Hello, Bob\n");
    }
    let log = server.end();
    assert_eq!(log.matches("peer=203.0.113.9:50412 via=").count(), 2, "{log}");
}

#[test]
fn a_reload_means_the_sockets_that_it_was_started_with() {
    let directory = TestDirectory::new();
    let file = directory.file("greeter.toml");
    fs::write(&file, "").unwrap();
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let mut command = started_with(kept, "");
    command.arg("--config").arg(&file);
    let server = Started::new(command, 1);
    fs::write(&file, "proxy-protocol = \"127.0.0.1\"").unwrap();
    kill_process(Pid::from_child(&server.child), Signal::HUP).unwrap();
    let line = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nBob";
    wait_until("it holds", || Client::connect(address).ask(line) == "Hello, Bob\n");
    let log = server.end();
    assert!(log.contains("Settings were reloaded. changed=proxy-protocol\n"), "{log}");
    assert!(!log.contains("once the server is started again"), "{log}");
}
