//! Every option means what the help says, or is refused at once and by its name; nothing that is
//! said to the binary breaks it.

use std::process::Command;
use std::time::{Duration, Instant};

use greeter_tests::client::Client;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::size::sized;
use rustix::process::Signal;

/// No value for any of them.
const NONSENSE: [&str; 8] = ["", " ", "-1", "many", "1e3", "0x10", "18446744073709551616", "NaN"];

const COUNTS: [&str; 3] = ["--workers", "--connection-threads", "--max-connections"];
const SIZES: [&str; 2] = ["--max-line-bytes", "--max-unsent-bytes"];
const TIMEOUTS: [&str; 5] =
    ["--line-timeout", "--idle-timeout", "--write-timeout", "--reply-timeout", "--queue-timeout"];

/// The longest times that can be written down: 2^64 - 1 seconds, and a little less in years.
const FOR_EVER: [&str; 2] = ["18446744073709551615s", "584542046090years"];

fn try_start(arguments: &[&str]) -> Result<TestedServer, String> {
    let mut command = Command::new(greeter_server());
    if !arguments.iter().any(|argument| argument.starts_with("--listen")) {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let began = Instant::now();
    TestedServer::try_start(
        {
            command.args(arguments);
            command
        },
        1,
    )
    .map_err(|(status, said)| {
        let took = began.elapsed();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.lines().any(|line| line.starts_with("error: ")), "{arguments:?}: {said}");
        assert!(!said.to_lowercase().contains("panicked"), "{arguments:?}: {said}");
        assert!(took <= sized(Duration::from_secs(10), Duration::from_secs(1)), "{arguments:?}: {took:?}");
        said
    })
}

/// Ends with 2 and an error that names the option and says why.
#[track_caller]
fn refused(arguments: &[&str], why: &str) {
    match try_start(arguments) {
        Ok(_) => panic!("{arguments:?} was taken"),
        Err(said) => {
            let option = arguments[0].split('=').next().expect("split gives something");
            assert!(said.contains(option) && said.contains(why), "{arguments:?}: {said}");
        }
    }
}

/// Listens, and ends in order when told to.
#[track_caller]
fn listens(arguments: &[&str]) {
    stop(try_start(arguments).unwrap_or_else(|said| panic!("{arguments:?} was refused: {said}")));
}

/// Listens, greets, and ends in order when told to.
#[track_caller]
fn greets(arguments: &[&str]) {
    let server = try_start(arguments).unwrap_or_else(|said| panic!("{arguments:?} was refused: {said}"));
    assert_eq!(Client::connect(server.address()).ask("B"), "Hello, B\n", "{arguments:?}");
    stop(server);
}

#[track_caller]
fn stop(mut server: TestedServer) {
    server.signal(Signal::TERM);
    let (status, log) = server.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.to_lowercase().contains("panicked"), "{log}");
}

#[test]
fn nonsense_is_refused_by_name() {
    let others = ["--work", "--linger", "--drain", "--log", "--when-full", "--max-buffer-bytes"];
    let bounded = ["--max-connections-per-address"];
    for option in COUNTS.iter().chain(&SIZES).chain(&TIMEOUTS).chain(&bounded).chain(&others) {
        for value in NONSENSE {
            refused(&[option, value], "");
        }
        refused(&[&format!("{option}=")], "");
        refused(&[option], "");
        refused(&[option, "1", option, "2"], "");
    }
    refused(&["--colour"], "unrecognized");
    refused(&["Bob"], "unrecognized");
}

#[test]
fn numbers_are_taken_from_end_to_end_and_no_further() {
    for option in COUNTS {
        for value in ["4294967295", "4294967296", "4294967297", "9223372036854775808", "18446744073709551615"] {
            refused(&[option, value], &format!("is {value}, but must be from "));
        }
        refused(&[option, "10gb"], "invalid digit");
        refused(&[option, "off"], "invalid digit");
    }
    refused(&["--workers", "1025"], "must be from 0 to 1024");
    refused(&["--connection-threads", "0"], "must be from 1 to 1024");
    refused(&["--max-connections", "0"], "must be from 1 to 10000000");
    refused(&["--max-connections-per-address", "0"], "must be from 1 to 10000000");
    refused(&["--max-connections-per-address", "18446744073709551615"], "must be from 1 to 10000000");
    greets(&["--workers", "0", "--connection-threads", "1"]);
    greets(&["--workers", "1024", "--connection-threads", "1024"]);
    greets(&["--max-connections", "1", "--max-connections-per-address", "1"]);
    greets(&["--max-connections", "10000000", "--max-connections-per-address", "10000000"]);
    greets(&["--max-connections-per-address", "off"]);
}

#[test]
fn sizes_are_taken_from_end_to_end_and_no_further() {
    for option in SIZES {
        for (value, bytes) in [
            ("0", "0"),
            ("4294967295", "4294967295"),
            ("4294967297", "4294967297"),
            ("18446744073709551615", "18446744073709551615"),
            ("10gb", "10000000000"),
            ("1073741825", "1073741825"),
        ] {
            refused(&[option, value], &format!("is {bytes}, but must be from 1 to 1073741824"));
        }
        refused(&[option, "off"], "write it as 8192, 8KiB or 1MiB");
        greets(&[option, "1"]);
        greets(&[option, "1GiB"]);
    }
    for value in ["4294967295", "4294967297", "18446744073709551615", "10gb"] {
        greets(&["--max-buffer-bytes", value]);
    }
    // Room for one client at least: for a line, a read behind it, and replies.
    refused(&["--max-buffer-bytes", "0"], "is 0, but must be at least 294912");
    refused(&["--max-buffer-bytes", "294911"], "must be at least 294912");
    greets(&["--max-buffer-bytes", "294912"]);
}

#[test]
fn times_are_taken_from_a_millisecond_to_for_ever() {
    for option in TIMEOUTS {
        for value in ["0", "0s", "1ns", "999us"] {
            refused(&[option, value], "but must be at least 1ms, or off");
        }
        for value in ["5", "-1s", "1.5", "18446744073709551616s", "584542046091years", "1parsec"] {
            refused(&[option, value], "write it as 500ms, 2s or 1m");
        }
        refused(&[option, "5M"], "M would be a month; write m for minutes");
        listens(&[option, "1ms"]);
        greets(&[option, "off"]);
        for value in FOR_EVER {
            greets(&[option, value]);
        }
    }
    refused(&["--handshake-timeout", "0s"], "--handshake-timeout is 0s, but must be at least 1ms\n");
    refused(&["--handshake-timeout", "999us"], "is 999µs, but must be at least 1ms\n");
    for option in ["--linger", "--drain", "--work"] {
        refused(&[option, "off"], "cannot be off");
        refused(&[option, "5"], "write it as 500ms, 2s or 1m");
        greets(&[option, "0s"]);
        for value in FOR_EVER {
            listens(&[option, value]);
        }
    }
    for value in FOR_EVER {
        greets(&["--linger", value, "--drain", value]);
    }
}

#[test]
fn options_that_do_not_go_together_are_refused_or_do_what_each_says() {
    refused(&["--max-buffer-bytes", "1MiB", "--max-line-bytes", "1MiB"], "must be at least 2375680");
    refused(&["--max-buffer-bytes", "1MiB", "--max-unsent-bytes", "1GiB"], "must be at least ");
    // Both are named, so that it takes one look to mend them.
    refused(&["--workers", "5000", "--line-timeout", "0s"], "--line-timeout is 0s, but");
    // More for one address than for all is no limit for an address; and without workers nobody
    // watches over them.
    greets(&["--max-connections", "1", "--max-connections-per-address", "1000"]);
    greets(&["--workers", "0", "--reply-timeout", "1ms", "--queue-timeout", "1ms"]);
    greets(&["--when-full", "wait", "--max-connections", "1"]);
    listens(&["--idle-timeout", "1ms", "--line-timeout", "1ms", "--write-timeout", "1ms", "--linger", "0s"]);
}

#[test]
fn addresses_that_cannot_be_had_are_named() {
    for address in ["", "nowhere", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "[::1:80", "256.0.0.1:80", ":80"] {
        match try_start(&["--listen", address]) {
            Ok(_) => panic!("{address} was taken"),
            Err(said) => assert!(said.contains("cannot listen on ") && said.contains(address), "{said}"),
        }
    }
    for (address, how) in [
        ("127.0.0.1", "the port is missing: write 127.0.0.1:8080"),
        (":7405", "write 127.0.0.1:7405, or for every host 0.0.0.0:7405 or [::]:7405"),
    ] {
        let Err(said) = try_start(&["--listen", address]) else { panic!("{address} was taken") };
        assert!(said.contains(&format!("cannot listen on {address:?}: ")) && said.contains(how), "{said}");
    }
    let taken = TestedServer::start(&[]).address().to_string();
    let server = TestedServer::start_with(&["--listen", &taken]);
    refused_to_listen(&server.address().to_string());
}

#[track_caller]
fn refused_to_listen(address: &str) {
    for (arguments, why) in [
        (&["--listen", address][..], "Address already in use"),
        (&["--listen", address, "--listen", address], "it is to be listened at twice"),
    ] {
        match try_start(arguments) {
            Ok(_) => panic!("{address} was had twice"),
            Err(said) => assert!(said.contains(&format!("cannot listen on {address}: {why}")), "{said}"),
        }
    }
}
