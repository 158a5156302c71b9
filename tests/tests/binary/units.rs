//! The units that are shipped are understood by systemd, keep the server from what it does not do,
//! and start it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::directory::TestDirectory;
use greeter_tests::missing_program;
use greeter_tests::process::greeter_server;
use rustix::process::Signal;

use crate::kit::World;
use crate::service_manager::Manager;

/// Where a package installs the server.
const INSTALLED: &str = "/usr/bin/greeter-server";

/// The most that `systemd-analyze security` may find, in tenths: from 0, best, to 100.
const EXPOSURE_MAX: &str = "20";

fn unit(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../greeter-server/packaging/greeter-server.{kind}"))
}

/// The values of a setting in the unit of the service, in their order.
fn settings(name: &str) -> Vec<String> {
    let text = fs::read_to_string(unit("service")).expect("the unit is there");
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

fn setting(name: &str) -> String {
    settings(name).pop().unwrap_or_else(|| panic!("the unit has no {name}"))
}

/// The arguments that the unit starts the server with.
fn arguments() -> Vec<String> {
    let line = setting("ExecStart");
    let mut words = line.split_whitespace().map(str::to_owned);
    assert_eq!(words.next().as_deref(), Some(INSTALLED));
    words.collect()
}

fn analyze(arguments: &[&str], files: &[&Path]) {
    let output = Command::new("systemd-analyze").args(arguments).args(files).env("SYSTEMD_PAGER", "").output();
    let output = output.expect("systemd-analyze starts");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
    if arguments[0] == "verify" {
        assert_eq!(said, "");
    }
}

#[test]
fn systemd_understands_the_units() {
    if missing_program("systemd-analyze", "systemd") {
        return;
    }
    let directory = TestDirectory::new();
    let copies = ["service", "socket"].map(|kind| {
        let text = fs::read_to_string(unit(kind)).expect("the unit is there");
        let copy = directory.file(format!("greeter-server.{kind}"));
        // It is not installed here.
        fs::write(&copy, text.replace(INSTALLED, &greeter_server().to_string_lossy())).expect("there is room");
        copy
    });
    analyze(&["verify", "--man=no"], &[&copies[0], &copies[1]]);
}

#[test]
fn the_service_may_do_little() {
    if missing_program("systemd-analyze", "systemd") {
        return;
    }
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    analyze(&["security", "--offline=true", "--no-pager", &threshold], &[&unit("service")]);
}

#[test]
fn the_unit_starts_a_server_that_says_when_it_is_ready() {
    let mut command = Command::new(greeter_server());
    // The port that it would take may be somebody's here.
    command.args(arguments()).args(["--listen", "127.0.0.1:0"]);
    let watchdog = humantime::parse_duration(&setting("WatchdogSec")).expect("it is a time");
    let (mut manager, mut server) = Manager::start_command(Some(watchdog), command, 1);
    assert!(manager.hears("READY=1"), "{:?}", manager.told);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && !log.contains("WARN"), "{log}");
}

#[test]
fn the_service_manager_waits_for_longer_than_a_stop_takes() {
    let arguments = arguments();
    let of = |option: &str, default: &str| {
        let given = arguments.iter().skip_while(|word| *word != option).nth(1);
        humantime::parse_duration(given.map_or(default, |given| given)).expect("it is a time")
    };
    let stop = of("--drain-delay", "0s") + of("--drain", "10s") + Duration::from_secs(5);
    let patience = humantime::parse_duration(&setting("TimeoutStopSec")).expect("it is a time");
    assert!(patience >= stop, "{patience:?} is shorter than {stop:?}");
}

/// The system calls of a set, `@system-service` say, with those of the sets in it.
fn calls_in(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output();
    let text = String::from_utf8(output.expect("systemd-analyze starts").stdout).expect("names are text");
    let names = text.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    names.flat_map(|name| if name.starts_with('@') { calls_in(name) } else { [name.to_owned()].into() }).collect()
}

/// What the service may call.
fn allowed() -> BTreeSet<String> {
    // It is always in the list, as systemd.exec(5) says.
    let mut allowed = calls_in("@default");
    for filter in settings("SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(sets) => {
                let denied: BTreeSet<String> = sets.split(' ').flat_map(calls_in).collect();
                allowed.retain(|call| !denied.contains(call));
            }
            None => allowed.extend(filter.split(' ').flat_map(calls_in)),
        }
    }
    allowed
}

/// The system calls that strace has written down, of all threads.
fn called(trace: &str) -> BTreeSet<String> {
    let calls = trace.lines().filter_map(|line| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = call.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        (end > 0 && call[end..].starts_with('(')).then(|| call[..end].to_owned())
    });
    calls.collect()
}

#[test]
fn what_the_server_asks_of_the_system_is_what_its_unit_allows() {
    if missing_program("systemd-analyze", "systemd") || missing_program("strace", "strace") {
        return;
    }
    let world = World::new();
    let (certificate, key) = world.identity("server", &["localhost"]);
    let directory = TestDirectory::new();
    let trace = directory.file("trace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o"]).arg(&trace).arg(greeter_server()).args(arguments());
    command.args(["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls-cert"]);
    command.arg(certificate).arg("--tls-key").arg(key);
    let (mut manager, mut server) = Manager::start_command(Some(Duration::from_millis(200)), command, 2);
    while !manager.hears("WATCHDOG=1") {}
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).0.success());
    let called = called(&fs::read_to_string(trace).expect("the tracer writes"));
    assert!(called.contains("accept4") && called.contains("prlimit64"), "{called:?}");
    let allowed = allowed();
    let forbidden: Vec<_> = called.difference(&allowed).collect();
    assert_eq!(forbidden, [""; 0], "of {called:?}");
    assert!(!allowed.contains("setrlimit") && !allowed.contains("chown"), "{allowed:?}");
}

#[test]
fn the_page_on_the_server_shows_what_is_in_the_unit() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/server.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let unit = fs::read_to_string(unit("service")).expect("the unit is there");
    let (_, block) = page.split_once("```ini unit\n").expect("the page has a block with it");
    let shown = block.split("```").next().unwrap_or_default();
    assert!(shown.lines().count() > 5, "{shown}");
    let strange: Vec<_> = shown.lines().filter(|line| !unit.lines().any(|of_unit| of_unit == *line)).collect();
    assert_eq!(strange, [""; 0]);
}
