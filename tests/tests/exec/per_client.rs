use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use greeter_server::{Builder, CloseReason, ExecError, Greeter, Listener, PerClient, PerClientOptions, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, inet, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::size::is_full;
use greeter_tests::{answered_by, in_both_placements, missing_program};

use socket2::SockRef;

use crate::kit::is_there;

/// A program in the language of sh(1).
fn shell(script: &str) -> PerClientOptions {
    PerClient::options("sh").args(["-c", script])
}

/// A server that starts this program for each client.
#[track_caller]
fn serve(options: PerClientOptions) -> (ServerHandle, PerClient) {
    serve_by(answered_by(0), options)
}

#[track_caller]
pub(crate) fn serve_by(builder: Builder<Greeter>, options: PerClientOptions) -> (ServerHandle, PerClient) {
    let per_client = options.start(builder.push()).expect("there is such a program");
    (greeter_tests::spawn(builder.responder(per_client.clone())), per_client)
}

/// Waits until nobody is left.
#[track_caller]
fn at_an_end(server: &ServerHandle, per_client: &PerClient) {
    at_rest(server);
    wait_until("no process is left", || per_client.stats().running == 0);
}

#[test]
fn each_client_has_a_process_of_its_own_whose_words_come_as_they_are() {
    in_both_placements(|workers| {
        // A prompt has no LF, and a line may have a CR.
        let script = r#"while printf '> ' && IFS= read -r line; do count=$((count + 1)); printf '%s %s\n' "$count" "$line"; case $line in bye*) exit; esac; done"#;
        let (server, per_client) = serve_by(answered_by(workers), shell(script));
        let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.local_addr())).collect();
        for round in 1..=3 {
            for (number, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.bytes(2), b"> ");
                client.send(format!("from {number}\r\n"));
                assert_eq!(client.text(), format!("{round} from {number}\r\n"));
            }
        }
        for mut client in clients.drain(1..) {
            client.send("bye\n");
            assert_eq!(client.rest(), b"> 4 bye\n");
        }
        assert_eq!(clients[0].bytes(2), b"> ");
        clients[0].send("bye\nand more\n");
        assert_eq!(clients[0].rest(), b"4 bye\n");
        drop(clients);
        at_an_end(&server, &per_client);
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::ResponderClosed], per_client.stats().started), (4, 4));
    });
}

#[test]
fn a_program_that_answers_at_the_end_of_its_input_is_heard_to_the_end() {
    in_both_placements(|workers| {
        let (server, per_client) = serve_by(answered_by(workers), shell("sort; sleep 0.1; echo the end"));
        for _ in 0..5 {
            let mut client = Client::connect(server.local_addr());
            client.send("c\nb\na\nno line");
            assert_eq!(client.finish(), b"a\nb\nc\nthe end\n");
        }
        at_an_end(&server, &per_client);
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::ClientClosed], stats.responder_errors), (5, 0));
    });
}

/// How much a process says here to a client that takes its time.
const MUCH: usize = 10_000_000;

#[test]
fn a_process_waits_for_a_client_that_reads_slowly_and_nothing_is_cut() {
    let directory = TestDirectory::new();
    let done = directory.file("done");
    let script = format!("seq 1 3000000 | head -c {MUCH}; : > {}", done.display());
    let (server, per_client) = serve(shell(&script));
    let mut client = Client::connect_with_small_buffer(server.local_addr());
    client.finish_sending();
    let mut received = Vec::new();
    while received.len() < MUCH {
        received.extend(client.bytes((MUCH - received.len()).min(100_000)));
        let held = server.connections().iter().map(|connection| connection.bytes_held).max();
        assert!(held < Some(100_000), "{held:?} are held");
        // What lies in sockets and pipes is far less.
        assert!(received.len() > MUCH / 2 || !done.exists(), "the process has not waited");
    }
    assert_eq!(client.rest(), b"");
    let expected: Vec<u8> = (1..=3_000_000).flat_map(|number| format!("{number}\n").into_bytes()).take(MUCH).collect();
    assert!(received == expected, "it is all there, and in order");
    at_an_end(&server, &per_client);
}

#[test]
fn a_client_waits_for_a_process_that_does_not_read() {
    let directory = TestDirectory::new();
    let go = directory.file("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; wc", go.display());
    let (server, per_client) = serve(shell(&script));
    let mut client = Client::connect(server.local_addr());
    let lines = "milk and eggs\n".repeat(2_000_000);
    let sent = client.send_until_stuck(lines.as_bytes(), Duration::from_millis(500));
    assert!(sent < lines.len(), "all of it was taken");
    fs::write(&go, "").expect("the folder is ours");
    assert_eq!(client.send_until_stuck(&lines.as_bytes()[sent..], PATIENCE), lines.len() - sent);
    let counted = String::from_utf8(client.finish()).expect("it is text");
    let counts: Vec<_> = counted.split_ascii_whitespace().collect();
    assert_eq!(counts, ["2000000", "6000000", "28000000"]);
    at_an_end(&server, &per_client);
}

#[test]
fn a_process_that_reads_no_more_keeps_nobody() {
    let (server, per_client) =
        serve(shell("exec <&-; printf deaf; read -r _ < /dev/null; sleep 0.2; echo ' and done'"));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.bytes(4), b"deaf");
    client.send_if_taken("a line\n".repeat(100_000));
    let mut said = Vec::new();
    while let Some(byte) = client.sip() {
        said.push(byte);
    }
    assert_eq!(said, b" and done\n");
    at_an_end(&server, &per_client);
}

#[test]
fn whoever_leaves_ends_the_process_with_all_that_it_has_started() {
    let directory = TestDirectory::new();
    let known = directory.file("known");
    let script = format!(
        "trap '' TERM HUP PIPE; (trap '' TERM HUP; echo $$; exec sleep 1000) & echo $$ $! >> {}; echo ready; sleep 1000",
        known.display()
    );
    let (server, per_client) = serve(shell(&script));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| while client.text() != "ready\n" {});
    server.kill(server.connections()[0].peer.id);
    // One that only closes may be one that still reads.
    clients.drain(..).for_each(Client::reset);
    at_an_end(&server, &per_client);
    let known = fs::read_to_string(&known).expect("they have written");
    let pids: Vec<_> = known.split_ascii_whitespace().collect();
    assert_eq!(pids.len(), 6);
    wait_until("nothing of them is left", || !pids.iter().any(|pid| is_there(pid)));
}

#[test]
fn a_stop_is_the_end_of_the_input_and_what_is_said_then_is_heard() {
    in_both_placements(|workers| {
        let (server, per_client) = serve_by(answered_by(workers), shell("echo ready; cat; sleep 0.1; echo good-bye"));
        let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), "ready\n"));
        clients[0].send("last words\n");
        let stopper = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        for (number, client) in clients.iter_mut().enumerate() {
            let words = if number == 0 { "last words\ngood-bye\n" } else { "good-bye\n" };
            assert_eq!(String::from_utf8_lossy(&client.rest()), words);
        }
        drop(clients);
        assert_eq!(stopper.join().expect("it does not panic").discarded, 0);
        per_client.stop();
        assert_eq!(per_client.stats().running, 0);
    });
}

#[test]
fn what_a_program_leaves_behind_holds_the_connection_for_a_second_and_goes_with_it() {
    let directory = TestDirectory::new();
    let known = directory.file("known");
    let script = format!("sleep 1000 & echo $! > {}; (sleep 0.1; echo late) & echo hi", known.display());
    let (server, per_client) = serve(shell(&script));
    assert_eq!(Client::connect(server.local_addr()).rest(), b"hi\nlate\n");
    at_an_end(&server, &per_client);
    let pid = fs::read_to_string(&known).expect("it has written");
    wait_until("nothing is left", || !is_there(pid.trim()));
}

/// It never ceases to write, and its client reads slower than that.
#[test]
fn what_is_left_behind_and_goes_on_writing_ends_with_its_client_all_the_same() {
    let (server, per_client) = serve(shell("yes & sleep 0.2"));
    let mut client = Client::connect_with_small_buffer(server.local_addr());
    wait_until("there is a process", || per_client.stats().started == 1);
    wait_until("nothing of it is left", || {
        // So that there is always more when it has taken a piece.
        (0..64).for_each(|_| _ = client.sip());
        per_client.stats().running == 0
    });
    drop(client);
    at_an_end(&server, &per_client);
}

/// It is found by its own number then.
#[test]
fn a_process_that_has_left_its_group_ends_with_its_client_all_the_same() {
    if missing_program("python3", "python3") {
        return;
    }
    let script =
        "import os, time; os.setpgid(0, os.getpgid(os.getppid())); print('ready', flush=True); time.sleep(1000)";
    let (server, per_client) = serve(PerClient::options("python3").args(["-c", script]));
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.text(), "ready\n"));
    clients.remove(0).reset();
    wait_until("it is gone", || per_client.stats().running == 1);
    per_client.stop();
    assert_eq!(per_client.stats().running, 0);
}

#[test]
fn what_is_said_to_people_holds_nobody_up() {
    let (server, per_client) = serve(shell("yes | head -c 2000000 >&2; echo done"));
    assert_eq!(Client::connect(server.local_addr()).rest(), b"done\n");
    at_an_end(&server, &per_client);
}

#[test]
fn a_program_that_crashes_is_counted_and_what_it_said_is_heard() {
    let (server, per_client) = serve(shell("echo a; kill -9 $$"));
    assert_eq!(Client::connect(server.local_addr()).rest(), b"a\n");
    at_an_end(&server, &per_client);
    assert_eq!(per_client.stats().crashed, 1);
}

#[test]
fn when_it_has_stopped_there_are_no_clients_and_nobody_is_let_in() {
    let (server, per_client) = serve(shell("echo ready; cat"));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.text(), "ready\n");
    per_client.stop();
    assert_eq!((client.rest(), per_client.stats().running), (Vec::new(), 0));
    assert!(!per_client.is_ready());
    assert_eq!(Client::connect(server.local_addr()).rest(), b"error: busy\n");
}

/// The variables of a program that says them all.
fn said_by(mut client: impl Read) -> BTreeMap<String, String> {
    let mut said = String::new();
    client.read_to_string(&mut said).expect("it is text");
    said.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn a_program_knows_its_client_from_its_environment() {
    let directory = TestDirectory::new();
    let path = directory.file("socket");
    let options = PerClient::options("env").env("OUR_OWN", "yes");
    let builder = answered_by(0);
    let per_client = options.start(builder.push()).expect("there is such a program");
    let builder = builder.responder(per_client).listen(Listener::tcp("127.0.0.1:0").named("main"));
    let server = builder.listen(Listener::unix(&path)).build().expect("they are free").spawn().expect("it starts");
    let said = said_by(TcpStream::connect(inet(server.local_addr())).expect("it listens"));
    let of = |said: &BTreeMap<String, String>, name: &str| said.get(name).cloned();
    assert_eq!(of(&said, "PROTO").as_deref(), Some("TCP"));
    assert_eq!(of(&said, "TCPREMOTEIP").as_deref(), Some("127.0.0.1"));
    assert!(of(&said, "TCPREMOTEPORT").is_some_and(|port| port.parse::<u16>().is_ok()), "{said:?}");
    assert_eq!(of(&said, "GREETER_LISTENER").as_deref(), Some("main"));
    assert_eq!((of(&said, "OUR_OWN").as_deref(), of(&said, "PYTHONUNBUFFERED").as_deref()), (Some("yes"), Some("1")));
    assert!(
        !said.keys().any(|name| name.starts_with("UNIX") || name == "SSL_PROTOCOL" || name == "TCPLOCALIP"),
        "{said:?}"
    );
    let said = said_by(UnixStream::connect(&path).expect("it listens"));
    assert_eq!(of(&said, "PROTO").as_deref(), Some("UNIX"));
    assert_eq!(of(&said, "UNIXREMOTEPID"), Some(std::process::id().to_string()));
    assert_eq!(of(&said, "UNIXREMOTEEUID"), Some(rustix::process::geteuid().as_raw().to_string()));
    assert_eq!(of(&said, "UNIXREMOTEEGID"), Some(rustix::process::getegid().as_raw().to_string()));
    assert!(!said.keys().any(|name| name.starts_with("TCPREMOTEIP") || name == "GREETER_LISTENER"), "{said:?}");
}

#[test]
fn beyond_the_most_processes_clients_are_rejected_until_there_is_room() {
    let (server, per_client) = serve(shell("cat").max_processes(2));
    let mut clients: Vec<_> = (0..2).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("a"), "a\n"));
    assert!(!per_client.is_ready());
    assert_eq!(Client::connect(server.local_addr()).rest(), b"error: busy\n");
    assert_eq!(per_client.stats().rejected, 1);
    clients.pop();
    wait_until("there is room", || per_client.is_ready());
    assert_eq!(Client::connect(server.local_addr()).ask("b"), "b\n");
    drop(clients);
    at_an_end(&server, &per_client);
}

#[test]
fn other_options_hold_for_those_who_come_and_bad_ones_for_nobody() {
    let (server, per_client) = serve(shell("cat"));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("a"), "a\n");
    assert!(matches!(per_client.replace(PerClient::options("no-such-program")), Err(ExecError::NotStarted { .. })));
    let too_many = shell("cat").max_processes(10_001);
    assert!(matches!(per_client.replace(too_many), Err(ExecError::OutOfRange { value: 10_001, .. })));
    assert_eq!(Client::connect(server.local_addr()).ask("b"), "b\n");
    per_client.replace(shell("echo other").max_processes(7)).expect("it is there");
    assert_eq!(Client::connect(server.local_addr()).rest(), b"other\n");
    assert_eq!((client.ask("c"), per_client.stats().max_processes), ("c\n".to_owned(), 7));
}

#[test]
fn a_program_that_is_not_there_is_no_good() {
    let builder = answered_by(0);
    for program in ["no-such-program", "/etc/passwd", "/"] {
        let outcome = PerClient::options(program).start(builder.push());
        assert!(matches!(outcome, Err(ExecError::NotStarted { .. })), "{program}: {outcome:?}");
    }
    let outcome = shell("cat").max_processes(0).start(builder.push());
    assert!(matches!(outcome, Err(ExecError::OutOfRange { option: "max_processes", .. })), "{outcome:?}");
}

#[test]
fn a_program_that_is_gone_by_then_is_an_internal_error() {
    let directory = TestDirectory::new();
    let program = directory.file("program");
    fs::write(&program, "#!/no/such/interpreter\n").expect("the folder is ours");
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&program, mode).expect("the folder is ours");
    let (server, per_client) = serve(PerClient::options(&program));
    assert_eq!(Client::connect(server.local_addr()).rest(), b"error: internal error\n");
    at_an_end(&server, &per_client);
    assert_eq!((per_client.stats().failed_starts, per_client.stats().started), (1, 0));
}

#[test]
fn whoever_is_idle_in_both_directions_is_let_go_and_nobody_else() {
    let builder = answered_by(0).idle_timeout(Duration::from_secs(2));
    let (server, per_client) =
        serve_by(builder, shell("read -r much; for i in $much; do sleep 0.3; echo $i; done; cat"));
    let mut client = Client::connect(server.local_addr());
    client.send("1 2 3 4 5 6 7 8\n");
    for number in 1..=8 {
        assert_eq!(client.text(), format!("{number}\n"));
    }
    assert_eq!(client.rest(), b"", "what it reads is the program's");
    // Behind the end of the input, too.
    let mut client = Client::connect(server.local_addr());
    client.send("1\n");
    client.finish_sending();
    assert_eq!(client.rest(), b"1\n");
    let builder = answered_by(0).idle_timeout(Duration::from_millis(300));
    let (silent, of_silent) = serve_by(builder, shell("sleep 1000"));
    assert_eq!(Client::connect(silent.local_addr()).finish(), b"");
    assert_eq!(at_rest(&silent).closed_by[CloseReason::IdleTimeout], 1);
    at_an_end(&silent, &of_silent);
    drop(client);
    at_an_end(&server, &per_client);
}

/// A program of inetd's: it reads one line, and says who that is.
#[test]
fn a_finger_daemon_answers() {
    let program = "/usr/sbin/in.fingerd";
    if greeter_tests::missing(!Path::new(program).exists(), program, "fingerd") || missing_program("finger", "finger") {
        return;
    }
    let (server, per_client) = serve(PerClient::options(program));
    let user = std::process::Command::new("id").arg("-un").output().expect("id is there").stdout;
    let user = String::from_utf8(user).expect("it is text");
    let mut client = Client::connect(server.local_addr());
    client.send(format!("{}\r\n", user.trim()));
    let said = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(said.contains("Login: ") && said.ends_with("\r\n"), "{said}");
    at_an_end(&server, &per_client);
}

/// Clients that come, say something or nothing, and leave in any way, while processes die.
#[test]
fn whatever_clients_and_processes_do_nothing_is_left_and_nobody_reads_what_is_anothers() {
    let directory = TestDirectory::new();
    let known = directory.file("known");
    let script = format!(
        r#"echo $$ >> {}; read -r me || exit; case $me in
            *die) kill -9 $$;; *flood) yes "$me" | head -c 300000; exit;;
            *stop) kill -STOP $$;; *deaf) exec <&-; sleep 0.05; echo "$me"; exit;; *leave) sleep 1000 & echo "$me"; exit;;
        esac; while IFS= read -r line; do echo "$me $line"; done; echo "$me end""#,
        known.display()
    );
    let (server, per_client) = serve(shell(&script).max_processes(10_000));
    let before = fs::read_dir("/proc/self/fd").expect("Linux has it").count();
    let (threads, rounds) = if is_full() { (20, 200) } else { (6, 25) };
    let heard = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (server, heard) = (&server, &heard);
            scope.spawn(move || {
                for round in 0..rounds {
                    let kind = ["well", "well", "die", "flood", "stop", "deaf", "leave", "gone", "mute"]
                        [(thread * 7 + round) % 9];
                    let name = format!("{thread}-{round}-{kind}");
                    heard.fetch_add(visit(server, &name, kind), Ordering::Relaxed);
                }
            });
        }
    });
    // Whoever has left at once may not have been accepted yet.
    wait_until("all have come", || server.stats().accepted == (threads * rounds) as u64);
    at_an_end(&server, &per_client);
    assert!(heard.into_inner() > threads as u64 * rounds as u64, "somebody was answered");
    let known = fs::read_to_string(&known).expect("they have written");
    assert!(known.lines().count() > threads * rounds / 2);
    wait_until("nothing of them is left", || !known.lines().any(is_there));
    wait_until("no descriptor is left", || fs::read_dir("/proc/self/fd").expect("Linux has it").count() <= before);
}

/// One client's visit. Returns how many lines it has read, in which there is nothing but its own.
fn visit(server: &ServerHandle, name: &str, kind: &str) -> u64 {
    let mut client = TcpStream::connect(inet(server.local_addr())).expect("the server accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    if kind == "gone" {
        return 0;
    }
    // It may be gone by then.
    let _ = client.write_all(format!("{name}\none\ntwo\n").as_bytes());
    if kind == "stop" || kind == "mute" {
        // Nothing else would end these, whom their processes do not know to be gone.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket can be set up");
        return 0;
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    if let Err(error) = client.read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{name}");
        received.truncate(received.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let mut lines = 0;
    for line in String::from_utf8(received).expect("all of it is text").split_inclusive('\n') {
        assert!(
            line.starts_with(name) || !line.ends_with('\n') && name.starts_with(line.trim_end()),
            "{name} reads {line}"
        );
        lines += 1;
    }
    if kind == "well" {
        assert_eq!(lines, 3, "{name}");
    }
    lines
}
