//! What the binary tells those who watch over it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use greeter_server::{ExecStats, PerClientStats, TaggedStats, admin};
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::{builder, missing_program, spawn};
use rustix::process::Signal;

/// Returns all that comes back from a Unix socket for these bytes.
pub(crate) fn exchange(socket: &Path, bytes: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    let _ = stream.write_all(bytes.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers, and in text");
    answer
}

/// Returns the status of the response for this path.
pub(crate) fn status(socket: &Path, path: &str) -> u16 {
    let answer = exchange(socket, &format!("GET {path} HTTP/1.0\r\n\r\n"));
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?} has no status"))
}

#[test]
fn balancers_hear_of_a_stop_before_it_begins_and_probes_are_answered_until_it_ends() {
    let directory = TestDirectory::new();
    let [admin, agent, log] = ["admin", "agent", "log"].map(|name| directory.file(name));
    let option = |path: &Path| format!("unix:{}", path.display());
    let (at_admin, at_agent) = (option(&admin), option(&agent));
    let arguments =
        ["--admin", &at_admin, "--agent", &at_agent, "--workers", "1", "--work", "60s", "--drain-delay", "1h"];
    let server = TestedServer::start_logging_to(File::create(&log).expect("the folder is ours"), &arguments);
    let has_logged = |words: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(words));
    wait_until("both have begun", || has_logged("The agent is ready."));
    assert_eq!([status(&admin, "/livez"), status(&admin, "/readyz")], [200, 200]);
    assert_eq!(exchange(&agent, ""), "ready up 100%\n");
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    wait_until("it is in the log", || has_logged("Accepted connection."));
    server.signal(Signal::TERM);
    wait_until("the delay begins", || has_logged("goes on as before"));
    wait_until("it is not ready", || status(&admin, "/readyz") == 503);
    assert_eq!((status(&admin, "/livez"), exchange(&agent, "").as_str()), (200, "drain\n"));
    // The next signal begins the end, which waits for a line.
    server.signal(Signal::TERM);
    wait_until("it stops", || has_logged("Server is stopping."));
    assert_eq!([status(&admin, "/livez"), status(&admin, "/readyz")], [200, 503]);
    assert!(exchange(&admin, "GET /metrics HTTP/1.0\r\n\r\n").contains("\ngreeter_connections 1\n"));
    server.signal(Signal::KILL);
    let log = fs::read_to_string(&log).expect("it has a log");
    let visits = log.lines().filter(|line| line.contains("Accepted connection."));
    assert_eq!(visits.count(), 1, "who asks is not in the log: {log}");
}

#[test]
fn the_sockets_of_the_admin_and_the_agent_are_gone_behind_the_server() {
    let directory = TestDirectory::new();
    let admin = directory.file("admin");
    let mut server = TestedServer::start(&["--admin", &format!("unix:{}", admin.display())]);
    wait_until("it answers", || admin.exists());
    assert_eq!(status(&admin, "/readyz"), 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE).0.code(), Some(0));
    assert!(!admin.exists());
}

#[test]
fn an_address_that_the_admin_cannot_have_keeps_the_server_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let taken = taken.local_addr().expect("it has one").to_string();
    for (address, words) in [
        (&*taken, format!("error: cannot start what --admin asks for: cannot listen on {taken}: ")),
        ("nowhere", "error: cannot start what --admin asks for: cannot listen on \"nowhere\"".to_owned()),
        (
            "tls:127.0.0.1:0",
            "error: cannot start what --admin asks for: tls:127.0.0.1:0 is for --listen only".to_owned(),
        ),
    ] {
        let mut command = Command::new(greeter_server());
        command.args(["--listen", "127.0.0.1:0", "--admin", address]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&words), "{said}");
        assert_eq!(output.stdout, b"", "nobody is told of an address that is gone at once");
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Returns the words in a text that begin as metrics do.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("greeter_") && !word.ends_with("_bucket")).collect()
}

#[test]
fn the_chapter_and_the_alerts_are_about_metrics_that_there_are() {
    let server = spawn(builder().max_accept_rate(5000));
    // In each mode: there is one program, but the chapter is about all.
    let of_programs = || {
        admin::exec_metrics(&ExecStats::default())
            + &admin::tagged_metrics(&TaggedStats::default())
            + &admin::per_client_metrics(&PerClientStats::default())
    };
    let admin = spawn(admin::server_with(&server, of_programs));
    let mut asks = Client::connect(admin.local_addr());
    asks.send("GET /metrics HTTP/1.0\r\n\r\n");
    let metrics = String::from_utf8(asks.rest()).expect("metrics are text");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there_are: BTreeSet<&str> = names.collect();
    let chapter = fs::read_to_string(file("docs/operating.md")).expect("it is there");
    let alerts = fs::read_to_string(file("greeter-server/packaging/alerts.yml")).expect("it is there");
    assert_eq!(metrics_in(&chapter), there_are);
    let of_alerts = metrics_in(&alerts);
    assert!(of_alerts.len() > 5 && of_alerts.is_subset(&there_are), "{of_alerts:?}");
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert!(names.clone().count() > 5 && names.clone().all(|name| chapter.contains(&format!("| `{name}` |"))));
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    if missing_program("promtool", "prometheus") {
        return;
    }
    let rules = file("greeter-server/packaging/alerts.test.yml");
    let output = Command::new("promtool").args(["test", "rules"]).arg(rules).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
