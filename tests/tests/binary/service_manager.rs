//! What the server tells a service manager, at a socket that is one of ours (sd_notify(3)).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use greeter_tests::client::{Client, PATIENCE, uninterrupted, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, greeter_server};
use rustix::process::Signal;

use crate::sockets::Started;

/// A service manager, as far as it listens.
pub(crate) struct Manager {
    socket: UnixDatagram,
    _directory: TestDirectory,
    /// All that it was told, one message after the other.
    pub(crate) told: Vec<String>,
}

impl Manager {
    /// Starts a server that tells it, with a watchdog of this time if there is one.
    fn start(watchdog: Option<Duration>, arguments: &[&str]) -> (Self, TestedServer) {
        let mut command = Command::new(greeter_server());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::start_command(watchdog, command, 1)
    }

    /// The same with any command, whose server listens at so many addresses.
    pub(crate) fn start_command(
        watchdog: Option<Duration>,
        mut command: Command,
        listeners: usize,
    ) -> (Self, TestedServer) {
        let directory = TestDirectory::new();
        let path = directory.file("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder is ours");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
        command.env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let server = TestedServer::start_listeners(command, listeners);
        (Self { socket, _directory: directory, told: Vec::new() }, server)
    }

    /// Waits for a message, and returns whether it has this.
    pub(crate) fn hears(&mut self, words: &str) -> bool {
        let mut buffer = [0; 4096];
        let bytes = uninterrupted(|| self.socket.recv(&mut buffer)).expect("the server says something");
        let message = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
        let is_it = message.contains(words);
        self.told.push(message);
        is_it
    }

    /// Whether it hears nothing for so long.
    fn hears_nothing_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("a socket can be set up");
        let is_silent = uninterrupted(|| self.socket.recv(&mut [0; 4096])).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
        is_silent
    }
}

#[test]
fn it_is_told_when_clients_can_come_and_how_a_stop_goes() {
    let (mut manager, mut server) = Manager::start(None, &["--drain-delay", "1h", "--workers", "1", "--work", "1s"]);
    assert!(manager.hears("READY=1"), "{:?}", manager.told);
    assert!(manager.told[0].contains(&format!("STATUS=Listening on {}", server.address())), "{:?}", manager.told);
    assert!(manager.hears_nothing_for(Duration::from_millis(100)), "it has nothing to say");
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    server.signal(Signal::TERM);
    // Also in the delay it asks for time, or it would be ended before it has stopped.
    assert!(manager.hears("STOPPING=1"), "{:?}", manager.told);
    wait_until("it says how far that is", || manager.hears("STATUS=Stopping: 1 clients left"));
    assert!(manager.told.last().is_some_and(|told| told.contains("EXTEND_TIMEOUT_USEC=5000000")), "{:?}", manager.told);
    server.signal(Signal::TERM);
    assert_eq!(client.rest(), b"Hello, Bob\n");
    drop(client);
    assert!(server.wait(PATIENCE).0.success());
}

#[test]
fn what_an_address_has_in_it_is_no_word_of_its_own() {
    let directory = TestDirectory::new();
    let (path, socket) = (directory.file("notify"), directory.file("s\nSTOPPING=1"));
    let manager = UnixDatagram::bind(&path).expect("the folder is ours");
    manager.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    let mut command = Command::new(greeter_server());
    command.args(["--listen", &format!("unix:{}", socket.display())]).env("NOTIFY_SOCKET", &path);
    let server = Started::new(command, 1);
    let mut buffer = [0; 4096];
    let bytes = uninterrupted(|| manager.recv(&mut buffer)).expect("the server says something");
    let told = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
    assert!(told.starts_with("READY=1\nSTATUS=Listening on unix:") && told.trim_end().lines().count() == 2, "{told}");
    server.end();
}

/// A file that is bad is the end of a reload as well: a manager that does not hear of it waits.
#[test]
fn it_is_told_of_a_reload_and_always_of_its_end() {
    let directory = TestDirectory::new();
    let file = directory.file("greeter.toml");
    fs::write(&file, "max-connections = 5\n").expect("the folder is ours");
    let (mut manager, server) = Manager::start(None, &["--config", file.to_str().expect("the path is ASCII")]);
    assert!(manager.hears("READY=1"), "{:?}", manager.told);
    let problem = format!("; the settings were not reloaded: {}:1:1: unknown key 'x'", file.display());
    let listening = format!("READY=1\nSTATUS=Listening on {}", server.address());
    let mut latest = 0;
    // A key may have lines of its own, and what is told has none but ours.
    let lines = "\"x\\nSTOPPING=1\" = 1\n";
    for (settings, said) in
        [("max-connections = 6\n", ""), ("x = 1\n", &*problem), (lines, "unknown key 'x"), ("x", ":1:2: "), ("", "")]
    {
        fs::write(&file, settings).expect("the folder is ours");
        server.signal(Signal::HUP);
        assert!(manager.hears("RELOADING=1\nMONOTONIC_USEC="), "{:?}", manager.told);
        let since = manager.told.last().and_then(|told| told.rsplit_once("MONOTONIC_USEC=")).map(|(_, since)| since);
        let since: u64 = since.and_then(|since| since.trim().parse().ok()).expect("it is a number");
        assert!(since > latest, "{since} is after {latest}");
        latest = since;
        assert!(manager.hears(&listening), "{:?}", manager.told);
        let told = manager.told.last().expect("it was told").trim_end();
        assert!(if said.is_empty() { told == listening } else { told.contains(said) }, "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}

#[test]
fn its_watchdog_hears_of_life_as_long_as_each_thread_is_alive() {
    let arguments = ["--workers", "0", "--connection-threads", "1", "--work", "60s", "--drain", "0s"];
    let (mut manager, server) = Manager::start(Some(Duration::from_millis(200)), &arguments);
    wait_until("it is ready", || manager.hears("READY=1"));
    // An idle server is alive.
    (0..10).for_each(|_| assert!(manager.hears("WATCHDOG=1"), "{:?}", manager.told));
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    // The thread is with that line, and what it has said before may be on its way.
    wait_until("it says nothing any more", || manager.hears_nothing_for(Duration::from_millis(500)));
}

#[test]
fn its_watchdog_hears_of_life_through_a_delay_and_a_drain() {
    let arguments = ["--workers", "1", "--work", "60s", "--drain-delay", "1h", "--drain", "1h"];
    let (mut manager, server) = Manager::start(Some(Duration::from_millis(200)), &arguments);
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    for said in ["READY=1", "STOPPING=1", "WATCHDOG=1"] {
        wait_until(said, || manager.hears(said));
        for _ in 0..5 {
            wait_until("it is alive", || manager.hears("WATCHDOG=1"));
        }
        // The last of these ends it at once.
        server.signal(Signal::TERM);
    }
}

/// Whoever starts the server may have stopped reading.
/// It takes no descriptor to say so, and clients may have them all.
#[test]
fn its_watchdog_hears_of_life_while_there_are_no_descriptors() {
    let (mut manager, server) = Manager::start(Some(Duration::from_millis(400)), &[]);
    assert!(manager.hears("READY=1"), "{:?}", manager.told);
    server.limit_descriptors(0);
    (0..10).for_each(|_| assert!(manager.hears("WATCHDOG=1"), "{:?}", manager.told));
}

#[test]
fn a_manager_that_does_not_listen_holds_up_neither_a_reload_nor_the_end() {
    let directory = TestDirectory::new();
    let (path, file) = (directory.file("notify"), directory.file("greeter.toml"));
    let _deaf = UnixDatagram::bind(&path).expect("the folder is ours");
    let fills = UnixDatagram::unbound().expect("there are descriptors");
    fills.set_nonblocking(true).expect("a socket can be set up");
    while fills.send_to(b"X", &path).is_ok() {}
    fs::write(&file, "max-line-bytes = 5\n").expect("the folder is ours");
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "127.0.0.1:0", "--config"]).arg(&file).env("NOTIFY_SOCKET", &path);
    let mut server = TestedServer::start_command(command);
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask("Robert"), "error: line longer than 5 bytes\n");
    fs::write(&file, "max-line-bytes = 6\n").expect("the folder is ours");
    server.signal(Signal::HUP);
    wait_until("it is reloaded", || client.ask("Robert") == "Hello, Robert\n");
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE).0.code(), Some(0));
}
