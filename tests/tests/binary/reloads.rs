//! SIGHUP has a file of settings read again: all of it holds, or nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, greeter_client};
use greeter_tests::size::{figure, sized};
use rustix::process::Signal;

use crate::kit::{NAME, TlsClient, VERSIONS, World, socket_to};
use crate::settings::options_with_a_value;

const RELOADED: &str = "Settings were reloaded.";
const REFUSED: &str = "Cannot reload the settings, and keeps those it has.";

/// A server with a file of settings, and its log.
pub(crate) struct ReloadingServer {
    directory: TestDirectory,
    pub(crate) server: TestedServer,
}

impl ReloadingServer {
    /// Starts it with this in the file.
    pub(crate) fn start(settings: &str, arguments: &[&str]) -> Self {
        let directory = TestDirectory::new();
        let (file, log) = (directory.file("greeter.toml"), directory.file("log"));
        fs::write(&file, settings).expect("the folder is ours");
        let file = file.to_str().expect("the path is ASCII");
        let arguments = [&["--config", file], arguments].concat();
        let server = TestedServer::start_logging_to(File::create(log).expect("the folder is ours"), &arguments);
        Self { directory, server }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.file("greeter.toml")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.file("log")).expect("a log is text")
    }

    /// How often the file was read again, whatever came of it.
    pub(crate) fn reloads(&self) -> usize {
        let log = self.log();
        log.matches(RELOADED).count() + usize::from(log.contains(REFUSED))
    }

    /// Has it read this, and returns what it says of that.
    #[track_caller]
    pub(crate) fn reload(&self, settings: &str) -> String {
        fs::write(self.file(), settings).expect("the folder is ours");
        let before = self.log().len();
        self.server.signal(Signal::HUP);
        let said = || self.log()[before..].to_owned();
        wait_until("it has read the file", || {
            let said = said();
            said.ends_with('\n') && (said.contains(RELOADED) || said.contains(REFUSED))
        });
        said()
    }

    /// The same, for a file that is good.
    #[track_caller]
    pub(crate) fn has(&self, settings: &str, changed: &str) {
        let said = self.reload(settings);
        assert!(said.contains(&format!("{RELOADED} changed={changed}\n")), "{said}");
        assert!(!said.contains("ERROR"), "{said}");
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.server.address())
    }
}

const ANYWHERE: &str = "listen = \"127.0.0.1:0\"\n";

fn with(settings: &str) -> String {
    format!("{ANYWHERE}{settings}\n")
}

#[test]
fn timeouts_hold_for_those_who_are_connected() {
    let server = ReloadingServer::start(&with(""), &[]);
    let mut idle = server.connect();
    assert_eq!(idle.ask("Bob"), "Hello, Bob\n");
    server.has(&with("idle-timeout = \"50ms\""), "idle-timeout");
    assert_eq!(idle.rest(), b"error: idle for 50ms\n");
    server.has(&with("idle-timeout = \"off\""), "idle-timeout");
    let mut reading = server.connect();
    assert_eq!(reading.ask("Bob"), "Hello, Bob\n");
    reading.send("Bo");
    server.has(&with("idle-timeout = \"off\"\nline-timeout = \"50ms\""), "line-timeout");
    assert_eq!(reading.rest(), b"error: line not finished within 50ms\n");
    server.has(&with(""), "line-timeout, idle-timeout");
    let mut reading = server.connect();
    reading.send("Bo");
    assert!(reading.hears_nothing_for(Duration::from_millis(150)), "it has time again");
    reading.send("b\n");
    assert_eq!(reading.text(), "Hello, Bob\n");
}

#[test]
fn a_line_may_be_as_long_as_the_file_has_it() {
    let server = ReloadingServer::start(&with("max-line-bytes = 10"), &[]);
    let mut client = server.connect();
    let (short, long) = ("x".repeat(10), "x".repeat(100));
    assert_eq!(client.ask(&long), "error: line longer than 10 bytes\n");
    server.has(&with("max-line-bytes = 100"), "max-line-bytes");
    // What the thread reads next, it reads with that: of what was sent before, it cannot know.
    wait_until("it holds", || client.ask(&long) == format!("Hello, {long}\n"));
    server.has(&with("max-line-bytes = 9"), "max-line-bytes");
    wait_until("it holds", || client.ask(&short) == "error: line longer than 9 bytes\n");
}

#[test]
fn nobody_is_thrown_out_and_the_next_finds_what_holds() {
    let server = ReloadingServer::start(&with("max-connections = 2"), &[]);
    let mut clients = vec![server.connect(), server.connect()];
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    assert_eq!(server.connect().rest(), b"error: too many connections\n");
    server.has(&with("max-connections = 3"), "max-connections");
    clients.push(server.connect());
    assert_eq!(clients[2].ask("Bob"), "Hello, Bob\n");
    server.has(&with("max-connections = 1"), "max-connections");
    assert_eq!(server.connect().rest(), b"error: too many connections\n");
    server.has(&with("max-connections-per-address = 3"), "max-connections, max-connections-per-address");
    assert_eq!(server.connect().rest(), b"error: too many connections from your address\n");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
}

#[test]
fn the_level_of_the_log_holds_at_once() {
    let server = ReloadingServer::start(&with("log = \"info\""), &[]);
    // One who says nothing is `debug`.
    let visit = || drop(server.connect().finish());
    let visits = || server.log().matches("DEBUG").count();
    visit();
    server.has(&with("log = \"debug\""), "log");
    visit();
    wait_until("it is in the log", || visits() > 0);
    server.has(&with("log = \"info\""), "log");
    // What was on its way comes before this.
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
    let before = visits();
    (0..20).for_each(|_| visit());
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
    server.has(&with(""), "nothing");
    assert_eq!(visits(), before);
}

#[test]
fn a_log_that_was_off_can_be_on() {
    let server = ReloadingServer::start(&with("log = \"off\""), &[]);
    let mut first = server.connect();
    assert_eq!((first.ask("Bob"), server.log()), ("Hello, Bob\n".to_owned(), String::new()));
    fs::write(server.file(), with("log = \"warn\"\nmax-connections = 1")).unwrap();
    server.server.signal(Signal::HUP);
    wait_until("it holds", || server.connect().ask("Bob") == "error: too many connections\n");
    let said = server.reload("max-connections = 0\n");
    assert!(said.contains(" ERROR ") && said.contains(REFUSED), "{said}");
    // That it holds is in the log that it has now, and in the one that it had.
    server.has(&with("log = \"info\"\nmax-connections = 1"), "log");
    server.has(&with("log = \"warn\"\nmax-connections = 1"), "log");
}

/// Good lines before and behind the bad one have no effect, whatever is wrong with it.
#[test]
fn a_bad_file_changes_nothing() {
    let world = World::new();
    let (certificate, key) = world.identity("server", &[NAME]);
    let start = with("max-line-bytes = 20\nidle-timeout = \"off\"");
    let server = ReloadingServer::start(&start, &[]);
    let mut client = server.connect();
    let name = "x".repeat(15);
    let missing = format!(
        "tls-cert = \"{}\"\ntls-key = \"/missing.pem\"\n[[listen]]\naddress = \"tls:127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"",
        certificate.display()
    );
    let wrong =
        format!("tls-cert = \"{0}\"\ntls-key = \"{0}\"\n[[listen]]\naddress = \"tls:127.0.0.1:0\"", key.display());
    for (bad, place, problem) in [
        ("listen = ", "4:10: ", "string values must be quoted"),
        ("max-conections = 5", "4:1: ", "did you mean max-connections?"),
        ("workers = \"many\"", "4:11: ", "cannot parse option '--workers'"),
        ("max-connections = 0", "4:19: ", "--max-connections is 0, but must be from 1"),
        ("listen = \"nowhere\"", "4:10: ", "the port is missing"),
        (&missing, "5:11: ", "cannot read /missing.pem: No such file"),
        (&wrong, "4:12: ", "has no certificate in PEM"),
    ] {
        let settings = format!("max-line-bytes = 10\nidle-timeout = \"50ms\"\nlog = \"debug\"\n{bad}\n");
        let said = server.reload(&settings);
        let place = format!("{}:{place}", server.file().display());
        let errors: Vec<&str> = said.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(&place) && errors[0].contains(problem), "{bad}: {said}");
        assert!(errors[0].contains(REFUSED) && !said.contains(RELOADED), "{said}");
        assert_eq!(client.ask(&name), format!("Hello, {name}\n"), "{bad}");
    }
    fs::remove_file(server.file()).unwrap();
    server.server.signal(Signal::HUP);
    wait_until("it says so", || server.log().contains(&format!("cannot read {}", server.file().display())));
    // Each problem is told, and what is good again holds.
    let said = server.reload("max-connections = 0\nqueue-timeout = \"0s\"\n");
    assert_eq!(said.matches(REFUSED).count(), 2, "{said}");
    assert!(client.hears_nothing_for(Duration::from_millis(150)), "it may be idle");
    assert!(!server.log().contains("DEBUG"));
    server.has(&with("max-line-bytes = 10\nidle-timeout = \"off\""), "max-line-bytes");
    wait_until("it holds", || client.ask(&name) == "error: line longer than 10 bytes\n");
    assert!(server.log().contains("INFO Limits have changed. connections_max="), "{}", server.log());
}

/// Another value than the default for each option there is.
fn other_value(option: &str) -> &'static str {
    match option {
        "listen" => "[\"127.0.0.1:0\", \"127.0.0.2:0\"]",
        "admin" | "agent" => "\"127.0.0.1:0\"",
        "proxy-protocol" => "[\"192.0.2.1\"]",
        "when-full" => "\"wait\"",
        "log" => "\"debug\"",
        "log-format" => "\"json\"",
        "max-buffer-bytes" => "\"1GiB\"",
        option if option.ends_with("-bytes") => "\"9KiB\"",
        option if option.ends_with("timeout") || option.ends_with("-time") => "\"7s\"",
        "linger" | "drain" | "drain-delay" | "drain-spread" | "work" => "\"7ms\"",
        _ => "7",
    }
}

#[test]
fn of_each_option_it_is_said_whether_it_holds_now_or_needs_a_restart() {
    let server = ReloadingServer::start(ANYWHERE, &[]);
    // These have tests of their own.
    let of_files = |option: &str| option.starts_with("tls-") || option.starts_with("exec");
    let options = options_with_a_value().into_iter().map(|(option, _)| option).filter(|option| !of_files(option));
    let (mut live, mut later) = (BTreeSet::new(), BTreeSet::new());
    for option in options {
        let before = if option == "listen" { "" } else { ANYWHERE };
        let said = server.reload(&format!("{before}{option} = {}\n", other_value(&option)));
        let holds = said.contains(&format!("{RELOADED} changed={option}\n"));
        let warned = "WARN Some settings hold only once the server is started again. settings=";
        wait_until("it is said", || holds || server.log().contains(&format!("{warned}{option}\n")));
        if holds {
            live.insert(option.clone())
        } else {
            later.insert(option.clone())
        };
        let said = server.reload(ANYWHERE);
        assert!(said.contains(&format!("changed={}\n", if holds { &option } else { "nothing" })), "{said}");
        assert!(!said.contains("WARN"), "as it was started: {said}");
    }
    let later: Vec<_> = later.iter().map(String::as_str).collect();
    assert_eq!(later, ["admin", "agent", "connection-threads", "listen", "log-format", "work", "workers"]);
    assert!(live.len() > 15, "{live:?}");
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
}

#[test]
fn what_a_listener_has_for_itself_holds_for_whoever_comes() {
    let table = |settings: &str| format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{settings}\n");
    let server = ReloadingServer::start(&table(""), &[]);
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    server.has(&table("name = \"a\""), "name");
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
    server.has(&table("proxy-protocol = \"127.0.0.1\""), "proxy-protocol, name");
    assert_eq!(server.connect().ask(&format!("{header}Bob")), "Hello, Bob\n");
    wait_until("its own address is in the log", || server.log().contains("peer=192.0.2.1:1"));
    server.has(&format!("proxy-protocol = \"192.0.2.1\"\n{}", table("")), "proxy-protocol");
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
    // Another address needs a restart, also beside one that stays.
    let said = server.reload(&format!("{}{}", table(""), table("").replace("127.0.0.1", "127.0.0.2")));
    assert!(said.contains(&format!("{RELOADED} changed=proxy-protocol\n")), "{said}");
    let warned = "Some settings hold only once the server is started again. settings=listen\n";
    wait_until("it is said", || server.log().ends_with(warned));
    assert_eq!(server.connect().ask("Bob"), "Hello, Bob\n");
}

/// A listener is known by where it is, and not by its place in the file.
#[test]
fn what_changes_for_a_listener_is_said_whatever_stands_beside_it() {
    let directory = TestDirectory::new();
    let unix = |name: &str, settings: &str| {
        format!("[[listen]]\naddress = \"unix:{}\"\n{settings}\n", directory.file(name).display())
    };
    let tcp = |settings: &str| format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{settings}\n");
    let server = ReloadingServer::start(&format!("{}{}", tcp(""), unix("a,b,mode=0600", "")), &[]);
    // A path may contain commas, and a scheme capitals.
    server.has(&format!("{}{}", unix("a,b,mode=0600", "").replace("unix:", "UNIX:"), tcp("")), "nothing");
    for (tables, changed, is_elsewhere) in [
        (unix("a,b,mode=0600", "") + &tcp(""), "nothing", false),
        (unix("a,b,mode=0600", "proxy-protocol = \"unix\"") + &tcp(""), "proxy-protocol", false),
        (
            format!("proxy-protocol = \"unix\"\n{}{}", unix("a,b,mode=0600", ""), tcp("proxy-protocol = []")),
            "nothing",
            false,
        ),
        // One more, one less, and another mode are for a restart; what else stands there is not.
        (unix("a,c", "") + &unix("a,b,mode=0600", "name = \"a\"") + &tcp(""), "proxy-protocol, name", true),
        (tcp("name = \"b\""), "name", true),
        (tcp("name = \"b\"") + &unix("a,b,mode=0660", "name = \"c\""), "name", true),
        (tcp("") + &unix("a,b,mode=0600", ""), "name", false),
    ] {
        let before = server.log().len();
        server.has(&tables, changed);
        // The warning of the first comes before what is said the second time.
        server.has(&tables, "nothing");
        let log = server.log();
        let [_, behind_first, _] = log[before..].split(RELOADED).collect::<Vec<_>>()[..] else { panic!("{log}") };
        let is_warned = behind_first.contains("once the server is started again. settings=listen\n");
        assert_eq!(is_warned, is_elsewhere, "{tables}{log}");
    }
}

#[test]
fn a_listener_is_the_same_however_its_place_is_written() {
    let server = ReloadingServer::start("[[listen]]\naddress = \"127.0.0.1:0\"\n", &[]);
    let later = "Some settings hold only once the server is started again. settings=listen\n";
    for settings in [ANYWHERE, "listen = [\"127.0.0.1:00\"]\n", "[[listen]]\naddress = \"127.0.0.1:0\"\n"] {
        server.has(settings, "nothing");
    }
    // What changes beside another that is new is said as well.
    let proxied = "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = \"192.0.2.1\"\nname = \"a\"\n";
    let before = format!("[[listen]]\naddress = \"127.0.0.2:0\"\n{proxied}");
    server.has(&before, "proxy-protocol, name");
    wait_until("it is said", || server.log().ends_with(later));
    // What the first of these warns of comes before what the second says.
    (0..2).for_each(|_| server.has(proxied, "nothing"));
    assert_eq!(server.log().matches(" WARN ").count(), 1, "{}", server.log());
}

/// What is above the file stays above it.
#[test]
fn the_command_line_holds_before_a_file_that_was_read_again() {
    let server = ReloadingServer::start(&with(""), &["--max-line-bytes", "10"]);
    server.has(&with("max-line-bytes = 100\nmax-connections = 7"), "max-connections");
    assert_eq!(server.connect().ask(&"x".repeat(11)), "error: line longer than 10 bytes\n");
}

#[test]
fn the_times_of_a_stop_are_those_that_hold_then() {
    let busy = |server: &ReloadingServer| {
        let mut client = server.connect();
        client.send("Bob\n");
        wait_until("it is in the log", || server.log().contains("Accepted connection."));
        client
    };
    let long = "work = \"60s\"\nworkers = 1\ndrain = \"1h\"";
    let mut server = ReloadingServer::start(&with(long), &[]);
    let _client = busy(&server);
    server.has(&with("work = \"60s\"\nworkers = 1\ndrain = \"1ms\""), "drain");
    server.server.signal(Signal::TERM);
    assert_eq!(server.server.wait(PATIENCE).0.code(), Some(3), "{}", server.log());
    // A delay that was not there, and one that is there no more.
    for (before, after) in [("", "drain-delay = \"1h\""), ("drain-delay = \"1h\"", "")] {
        let mut server = ReloadingServer::start(&with(&format!("{long}\n{before}")), &[]);
        let _client = busy(&server);
        server.has(&with(&format!("{long}\n{after}")), "drain-delay");
        let grace = "Whoever ends this process by SIGTERM should wait so long for it.";
        wait_until("how long it takes is said where it is new", || after.is_empty() || server.log().contains(grace));
        server.server.signal(Signal::TERM);
        if !after.is_empty() {
            wait_until("the delay begins", || server.log().contains("goes on as before"));
            assert!(TcpStream::connect(server.server.address()).is_ok(), "clients come as ever");
            server.server.signal(Signal::TERM);
        }
        wait_until("nobody is let in any more", || TcpStream::connect(server.server.address()).is_err());
        // It stops, and was not ended by that signal.
        wait_until("it stops", || server.log().contains("Server is stopping."));
        assert_eq!(server.log().contains("goes on as before"), !after.is_empty());
        wait_until("it ends at once", || {
            server.server.signal(Signal::TERM);
            let stat = fs::read_to_string(format!("/proc/{}/stat", server.server.id()));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        });
        assert!(!server.server.wait(PATIENCE).0.success());
    }
}

/// Nor does the thread go on that has read them, though workers have had nothing to do since.
#[test]
fn certificates_that_were_replaced_are_not_read_again() {
    let world = World::new();
    let with_files = |name: &str| {
        let (certificate, key) = world.identity(name, &[NAME]);
        let (certificate, key) = (certificate.display(), key.display());
        format!("listen = \"tls:127.0.0.1:0\"\ntls-cert = \"{certificate}\"\ntls-key = \"{key}\"\n")
    };
    let server = ReloadingServer::start(&with_files("first"), &["--workers", "4"]);
    for name in ["second", "third", "fourth"] {
        server.has(&with_files(name), "tls-cert, tls-key");
    }
    wait_until("those of the last are read, and no others", || server.server.threads_named("certificates") == 1);
}

#[test]
fn certificates_are_read_at_once() {
    let world = World::new();
    let with_files = |(certificate, key): &(PathBuf, PathBuf)| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("listen = \"tls:127.0.0.1:0\"\ntls-cert = \"{certificate}\"\ntls-key = \"{key}\"\n")
    };
    let files = world.identity("server", &[NAME]);
    let settings = with_files(&files);
    let server = ReloadingServer::start(&settings, &[]);
    let is_of = |world: &World| {
        let config = world.authority.trusting(&VERSIONS);
        TlsClient::new(socket_to(server.server.address()), &config).try_handshake().is_ok()
    };
    for _ in 0..3 {
        let next = World::new();
        assert!(is_of(&world) || !is_of(&next));
        next.authority.issue(&[NAME]).write(&world.directory, "server");
        server.reload(&settings);
        assert!(is_of(&next), "{}", server.log());
    }
    // Other files are read, too, and the old ones may go.
    let others = World::new();
    server.has(&with_files(&others.identity("other", &[NAME])), "tls-cert, tls-key");
    assert!(is_of(&others), "{}", server.log());
    server.has(&settings, "tls-cert, tls-key");
    // One without its key is refused, and the other stays.
    let last = World::new();
    let shown = last.authority.issue(&[NAME]);
    shown.write(&world.directory, "server");
    server.reload(&settings);
    let key = &files.1;
    fs::write(key, "nothing\n").unwrap();
    let said = server.reload(&settings);
    assert!(
        said.contains(&format!("{}:3:11: {} has no private key", server.file().display(), key.display())),
        "{said}"
    );
    assert!(is_of(&last));
    // Those that were read last are looked at from then on, without a signal.
    let later = World::new();
    later.authority.issue(&[NAME]).write(&world.directory, "server");
    wait_until("it has noticed", || is_of(&later));
}

/// Nobody is interested in what becomes of them: a warning that they are gone would be a riddle.
#[test]
fn files_of_certificates_that_are_used_no_more_are_watched_no_more() {
    let world = World::new();
    let with_files = |(certificate, key): (PathBuf, PathBuf)| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("listen = \"tls:127.0.0.1:0\"\ntls-cert = \"{certificate}\"\ntls-key = \"{key}\"\nworkers = 2\n")
    };
    let server = ReloadingServer::start(&with_files(world.identity("first", &[NAME])), &[]);
    let watching = || {
        let threads = fs::read_dir(format!("/proc/{}/task", server.server.id())).expect("it runs");
        let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.filter(|name| name == "certificates\n").count()
    };
    wait_until("its files are watched", || watching() == 1);
    for name in ["second", "third"] {
        // No worker has anything to do, and so none looks at what holds now.
        server.has(&with_files(world.identity(name, &[NAME])), "tls-cert, tls-key");
        wait_until("the others are not watched", || watching() == 1);
    }
}

#[test]
fn however_often_it_is_asked_what_is_in_the_file_last_holds() {
    let server = ReloadingServer::start(&with(""), &[]);
    let mut client = server.connect();
    for bytes in 1..100 {
        // A file that is written anew, as one should, is there as a whole or not at all.
        let next = server.file().with_extension("next");
        fs::write(&next, with(&format!("max-line-bytes = {bytes}"))).unwrap();
        fs::rename(&next, server.file()).unwrap();
        server.server.signal(Signal::HUP);
    }
    let too_long = "error: line longer than 99 bytes\n";
    wait_until("the last holds", || client.ask(&"x".repeat(200)) == too_long);
    assert!((1..100).contains(&server.reloads()), "{}", server.log());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

/// For a minute: `GREETER_FULL=1`.
#[test]
fn reloads_under_load_cost_no_line_no_memory_and_no_descriptor() {
    let duration = sized(Duration::from_secs(3), Duration::from_secs(60));
    let server = ReloadingServer::start(&with(""), &[]);
    let mut command = Command::new(greeter_client());
    command.args(["--connect", &server.server.address().to_string(), "load", "--connections", "20"]);
    command.args(["--line", "Bob", "--expect", "Hello, Bob", "--warmup", "0s", "--assert", "errors=0"]);
    command.args(["--duration", &format!("{}s", duration.as_secs())]);
    let load = thread::spawn(move || command.output().expect("the client can be started"));
    let limits =
        ["max-connections = 5000", "max-line-bytes = 100\nlog = \"warn\"", "line-timeout = \"3s\"", "workers = 9"];
    let (began, mut reloads, mut early) = (Instant::now(), 0, None);
    while !load.is_finished() {
        fs::write(server.file(), with(limits[reloads % limits.len()])).unwrap();
        server.server.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(100));
        reloads += 1;
        if early.is_none() && began.elapsed() > duration / 3 {
            early = Some((server.server.resident_bytes(), server.server.descriptors()));
        }
        if began.elapsed() < duration * 2 / 3 {
            let (bytes, descriptors) = (server.server.resident_bytes(), server.server.descriptors());
            let Some((bytes_before, descriptors_before)) = early else { continue };
            assert!(bytes < bytes_before + 4 * 1024 * 1024, "{bytes} after {bytes_before} bytes");
            assert_eq!(descriptors, descriptors_before);
        }
    }
    let output = load.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    figure("reloads under load", reloads);
    assert!(server.log().contains(RELOADED));
}
