use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greeter_server::{
    BoxError, CloseReason, ExecError, Line, Listener, Peer, Rejection, Reply, Responder, ServerHandle, Tagged,
    TaggedOptions, TaggedStats,
};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, inet, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::marked;
use greeter_tests::size::is_full;
use greeter_tests::{answered_by, in_both_placements, missing_program};

/// A program in the language of sh(1), with these lines of it done for each `verb`, `id` and
/// `text` behind the hello.
fn talk(body: &str) -> TaggedOptions {
    shell(&format!("{WORDS} hello; while read -r verb id text; do {body}; done"))
}

/// The same, for each line of a client.
fn for_each_line(body: &str) -> TaggedOptions {
    talk(&format!("case $verb in line) {body};; esac"))
}

fn shell(script: &str) -> TaggedOptions {
    Tagged::options("sh").args(["-c", script]).children(1)
}

/// What a program says.
const WORDS: &str = r#"
    IFS="$(printf '\t')"
    say() { printf 'say\t%s\t%s\n' "$1" "$2"; }
    over() { printf 'done\t%s\n' "$1"; }
    refuse() { printf 'refuse\t%s\t%s\n' "$1" "$2"; }
    close() { printf 'close\t%s\n' "$1"; }
    push() { printf 'push\t%s\t%s\n' "$1" "$2"; }
    hello() { read -r _ && printf 'hello\t1\n'; }
"#;

/// Says what it is asked.
const ECHO: &str = r#"say "$id" "$text"; over "$id""#;

/// A server whose clients this program answers.
#[track_caller]
fn serve(options: TaggedOptions) -> (ServerHandle, Tagged) {
    serve_with(0, options)
}

#[track_caller]
pub(crate) fn serve_with(workers: usize, options: TaggedOptions) -> (ServerHandle, Tagged) {
    let builder = answered_by(workers);
    let tagged = options.start(builder.push()).expect("the program is good");
    (greeter_tests::spawn(builder.responder(tagged.clone())), tagged)
}

/// How long it takes to be late: longer than a shell takes to begin.
const LATE: Duration = Duration::from_secs(1);

/// What a program in Python begins with.
const PYTHON: &str = "import os, random, signal, sys\ndef tell(*fields): print(*fields, sep='\\t', flush=True)\n";

/// The `number`th client, whom a process knows before the next comes.
pub(crate) fn join(server: &ServerHandle, tagged: &Tagged, number: u64) -> Client {
    let client = Client::connect(server.local_addr());
    wait_until("it is known", || tagged.stats().clients >= number);
    client
}

#[test]
fn each_line_is_answered_by_its_own_program_in_any_order_of_clients() {
    in_both_placements(|workers| {
        // The last that asks is answered first.
        let body = r#"case $text in
            wait) waiting="$id$IFS$waiting";;
            *) say "$id" "$id $text"; over "$id"; for other in $waiting; do say "$other" "$other late"; over "$other"; done; waiting=;;
        esac"#;
        let (server, tagged) = serve_with(workers, for_each_line(body));
        let mut clients: Vec<_> = (1..=5).map(|number| join(&server, &tagged, number)).collect();
        for round in 0..20 {
            for (number, client) in clients.iter_mut().enumerate().skip(1) {
                client.send("wait\r\n");
                wait_until("it is with the program", || tagged.stats().waiting == number as u64);
            }
            assert_eq!(clients[0].ask(&round.to_string()), format!("1 {round}\n"));
            for (client, id) in clients.iter_mut().zip(1..).skip(1) {
                assert_eq!(client.text(), format!("{id} late\r\n"));
            }
        }
        drop(clients);
        at_rest(&server);
        let stats = tagged.stats();
        assert_eq!((stats.answered, stats.started, stats.ended, stats.confused), (100, 1, 0, 0));
    });
}

#[test]
fn a_reply_has_any_number_of_lines_and_a_text_is_whatever_bytes_it_is() {
    if missing_program("python3", "python3") {
        return;
    }
    let program = "for line in sys.stdin.buffer:
    verb, *fields = line[:-1].split(b'\\t', 2)
    if verb == b'hello': tell('hello', 1)
    if verb == b'line':
        for part in fields[1].split(b' '):
            if part != b'none': sys.stdout.buffer.write(b'say\\t' + fields[0] + b'\\t' + part + b'\\r\\n')
        sys.stdout.buffer.write(b'done\\t' + fields[0] + b'\\n'); sys.stdout.buffer.flush()";
    let options = Tagged::options("python3").args(["-c", &format!("{PYTHON}{program}")]);
    let (server, _tagged) = serve(options.children(1));
    let mut client = Client::connect(server.local_addr());
    client.send(b"one  three\nnone\n\n\ta\t\t\n\xff\xfe\r\n".as_slice());
    let expected = b"one\n\nthree\n\n\ta\t\t\n\xff\xfe\r\n".as_slice();
    assert_eq!(client.finish(), expected);
    at_rest(&server);
}

#[test]
fn a_reply_in_several_lines_ends_as_its_line_did_and_refusals_replace_it() {
    in_both_placements(|workers| {
        let body =
            r#"say "$id" one; say "$id" two; case $text in no) refuse "$id" "no such name";; *) over "$id";; esac"#;
        let (server, _tagged) = serve_with(workers, for_each_line(body));
        let mut client = Client::connect(server.local_addr());
        client.send("a\r\nno\nb\n");
        assert_eq!(client.finish(), b"one\r\ntwo\r\nerror: no such name\none\ntwo\n");
        assert_eq!(at_rest(&server).responder_errors, 0);
    });
}

#[test]
fn a_program_closes_with_and_without_a_line_and_is_told_of_the_end_once() {
    in_both_placements(|workers| {
        // The first client hears what happens to the others.
        let body = r#"case $verb in
            open) push "$id" "welcome $text"; case $id in 1) ;; 2) close 2; say 2 late; push 2 late; over 2;; esac;;
            line) case $text in
                bye) say "$id" "good"; push "$id" "pushed"; say "$id" "bye"; close "$id"; over "$id";;
                *) close "$text"; over "$id";;
            esac;;
            end) push 1 "end $id $text";;
        esac"#;
        let (server, tagged) = serve_with(workers, talk(body));
        let mut first = join(&server, &tagged, 1);
        assert_eq!(first.text(), format!("welcome {}\n", first.local_addr()));
        let mut second = Client::connect(server.local_addr());
        assert_eq!(second.rest(), format!("welcome {}\n", second.local_addr()).into_bytes());
        assert_eq!(first.text(), "end 2 closed\n");
        let mut third = Client::connect(server.local_addr());
        third.send("bye\nand\nmore\n");
        let welcome = format!("welcome {}\n", third.local_addr());
        assert_eq!(String::from_utf8(third.rest()).unwrap(), format!("{welcome}pushed\ngood\nbye\n"));
        assert_eq!(first.text(), "end 3 closed\n");
        // Who is idle, closed by what another says.
        let mut fourth = join(&server, &tagged, 2);
        assert_eq!(fourth.text(), format!("welcome {}\n", fourth.local_addr()));
        first.send("4\n");
        assert_eq!(fourth.rest(), b"");
        assert_eq!(first.text(), "end 4 closed\n");
        // One that leaves by itself.
        let mut fifth = join(&server, &tagged, 2);
        fifth.text();
        fifth.finish();
        assert_eq!(first.text(), "end 5 left\n");
        let sixth = join(&server, &tagged, 2);
        sixth.reset();
        assert_eq!(first.text(), "end 6 lost\n");
        drop((second, third, fourth, fifth));
        first.send("1\n");
        assert_eq!(first.rest(), b"");
        drop(first);
        at_rest(&server);
        wait_until("nobody is left", || tagged.stats().clients == 0);
        assert_eq!(tagged.stats().confused, 0);
    });
}

/// What breaks the rule with one client costs that client its connection, and no other anything.
#[test]
fn a_program_that_fails_one_client_goes_on_for_the_others() {
    let long = "y".repeat(95);
    for (bad, received) in [
        (r#"over "$id"; say "$id" "again""#, ""),
        (r#"over "$id"; over "$id""#, ""),
        (r#"over "$id"; refuse "$id" "again""#, ""),
        (r#"refuse "$id" no; over "$id""#, "error: no\n"),
        (&*format!(r#"say "$id" short; say "$id" "{long}"; over "$id""#), "error: internal error\n"),
        (&*format!(r#"{} over "$id""#, r#"say "$id" ""; "#.repeat(102)), "error: internal error\n"),
    ] {
        let body = format!(
            r#"case $verb in line) case $text in bad) {bad};; *) {ECHO};; esac;; end) push 1 "end $id $text";; esac"#
        );
        let (server, tagged) = serve(talk(&body).max_reply_bytes(100).reply_timeout(None));
        let mut good = join(&server, &tagged, 1);
        for id in 2..5 {
            let mut client = Client::connect(server.local_addr());
            client.send("bad\n");
            assert_eq!(String::from_utf8(client.rest()).unwrap(), received, "{bad}");
            assert_eq!(good.text(), format!("end {id} error\n"), "{bad}");
            assert_eq!(good.ask("x"), "x\n", "{bad}");
        }
        // Just as much as may be.
        let just = "x".repeat(100);
        assert_eq!(good.ask(&just), format!("{just}\n"));
        drop(good);
        at_rest(&server);
        let stats = tagged.stats();
        assert_eq!((stats.started, stats.confused, stats.ended), (1, 0, 0), "{bad}");
    }
}

/// What breaks the rule in general ends the process: its clients lose their connections.
#[test]
fn a_confused_program_is_ended_with_its_clients_and_another_comes() {
    for bad in [
        "echo nonsense",
        "echo",
        r"printf 'hello\t1\n'",
        r"printf 'say\t1\n'",
        r#"printf 'done\t%s\t\n' "$id""#,
        r"printf 'done\tx\n'",
        "say 99 stranger",
        "push 0 stranger",
        "close 99",
        r"printf 'log\tloudly\ta\n'",
        "head -c 80000 /dev/zero | tr '\\0' x; cat",
        "exec >&-; cat",
        "exit 3",
        "kill -9 $$",
        r#"say "$id" half; kill -9 $$"#,
    ] {
        let options = for_each_line(&format!("case $text in bad) {bad};; *) {ECHO};; esac"));
        let (server, tagged) = serve(options.max_reply_bytes(100));
        for round in 1..=2 {
            let (mut idle, mut client) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
            assert_eq!((idle.ask("a"), client.ask("b")), ("a\n".to_owned(), "b\n".to_owned()), "{bad}");
            client.send("bad\nc\n");
            assert_eq!(String::from_utf8(client.rest()).unwrap(), "error: internal error\n", "{bad}");
            assert_eq!(idle.rest(), b"", "{bad}");
            wait_until("another is there", || tagged.stats().started > round && tagged.is_ready());
            let stats = tagged.stats();
            assert_eq!(stats.confused + stats.ended, round, "{bad}");
            wait_until("they are gone", || tagged.stats().clients == 0);
        }
        at_rest(&server);
    }
}

#[test]
fn a_line_that_is_not_answered_in_time_ends_its_client_and_three_in_a_row_the_process() {
    in_both_placements(|workers| {
        let body = format!(
            r#"case $verb in line) case $text in late) ;; *) {ECHO};; esac;; end) push 1 "end $id $text";; esac"#
        );
        let (server, tagged) = serve_with(workers, talk(&body).reply_timeout(LATE));
        let mut good = join(&server, &tagged, 1);
        for id in 2..6 {
            let mut late = join(&server, &tagged, 2);
            late.send("late\nmore\n");
            assert_eq!(late.rest(), b"error: timed out\n");
            assert_eq!(good.text(), format!("end {id} timeout\n"));
            // Whoever is answered has the program be believed again.
            assert_eq!(good.ask("x"), "x\n");
            assert_eq!(tagged.stats().late, id - 1);
        }
        for _ in 0..3 {
            let mut late = Client::connect(server.local_addr());
            late.send("late\n");
            assert_eq!(late.rest(), b"error: timed out\n");
        }
        let rest = String::from_utf8(good.rest()).unwrap();
        assert!(rest.starts_with("end 6 timeout\n"), "{rest}");
        let stats = tagged.stats();
        assert_eq!((stats.late, stats.confused), (7, 1));
        wait_until("another is there", || tagged.is_ready());
        assert_eq!(Client::connect(server.local_addr()).ask("x"), "x\n");
        at_rest(&server);
    });
}

/// The server's time and the program's are one.
#[test]
fn the_servers_own_reply_timeout_counts_as_well() {
    let builder = answered_by(0).reply_timeout(LATE);
    let body = format!(r#"case $verb in line) [ $text = late ] || {{ {ECHO}; }};; end) push 1 "end $id $text";; esac"#);
    let tagged = talk(&body).reply_timeout(None).start(builder.push()).unwrap();
    let server = greeter_tests::spawn(builder.responder(tagged.clone()));
    let mut good = join(&server, &tagged, 1);
    let mut late = join(&server, &tagged, 2);
    late.send("late\n");
    assert_eq!(late.rest(), b"error: timed out\n");
    drop(late);
    assert_eq!(good.text(), "end 2 timeout\n");
    assert_eq!((good.ask("x"), tagged.stats().late), ("x\n".to_owned(), 1));
}

#[test]
fn whoever_does_not_read_what_it_is_told_is_ended() {
    // Only the hello is read.
    let (server, tagged) = serve(shell(&format!("{WORDS} hello; sleep 1000")).reply_timeout(LATE));
    let mut client = join(&server, &tagged, 1);
    // More than a pipe holds, none of which asks for anything.
    let line = "x".repeat(8000);
    let mut others: Vec<_> = (0..20).map(|_| Client::connect(server.local_addr())).collect();
    others.iter_mut().for_each(|other| other.send(format!("{line}\n")));
    assert_eq!(client.rest(), b"");
    for mut other in others {
        let said = String::from_utf8(other.rest()).unwrap();
        assert!(["error: timed out\n", "error: internal error\n"].contains(&said.as_str()), "{said}");
    }
    assert_eq!(tagged.stats().confused, 1);
    drop(client);
    at_rest(&server);
}

/// That clients come is told, too: without a line, nobody waits for an answer.
#[test]
fn a_program_that_is_told_of_a_crowd_and_does_not_read_is_ended() {
    let builder = answered_by(0);
    let options = shell(&format!("{WORDS} hello; sleep 1000")).reply_timeout(LATE);
    let tagged = options.start(builder.push()).unwrap();
    // Twenty of them are more than a pipe holds.
    let listener = Listener::from("127.0.0.1:0").named("x".repeat(8000));
    let server = builder.responder(tagged.clone()).bind(listener).unwrap().spawn().unwrap();
    let clients: Vec<_> = (0..20).map(|_| Client::connect(server.local_addr())).collect();
    for mut client in clients {
        let said = String::from_utf8(client.rest()).unwrap();
        assert!(["", "error: busy\n"].contains(&said.as_str()), "{said}");
    }
    assert_eq!((tagged.stats().late, tagged.stats().confused), (0, 1));
    at_rest(&server);
}

#[test]
fn a_client_goes_to_the_process_with_the_fewest_and_stays_there() {
    let (server, tagged) = serve(for_each_line(r#"say "$id" "$$"; over "$id""#).children(3));
    let mut clients = one_for_each(&server, &tagged, 3);
    clients.extend((4..=6).map(|number| join(&server, &tagged, number)));
    let mut processes: Vec<_> = clients.iter_mut().map(|client| client.ask("who?")).collect();
    let again: Vec<_> = clients.iter_mut().map(|client| client.ask("who?")).collect();
    assert_eq!(processes, again);
    processes.sort();
    assert!(processes.chunk_by(|a, b| a == b).map(<[_]>::len).eq([2, 2, 2]), "{processes:?}");
}

/// Clients of so many processes, one of each, that say which they are: all take clients by then.
fn one_for_each(server: &ServerHandle, tagged: &Tagged, processes: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    wait_until("all take clients", || {
        clients.clear();
        wait_until("they are gone", || tagged.stats().clients == 0);
        clients.extend((0..processes).map(|number| join(server, tagged, number as u64 + 1)));
        let said: BTreeSet<_> = clients.iter_mut().map(|client| client.ask("who?")).collect();
        said.len() == processes
    });
    clients
}

#[test]
fn other_processes_answer_while_one_has_ended_and_without_any_clients_are_turned_away() {
    let directory = TestDirectory::new();
    let is_broken = directory.file("broken");
    let script = format!(
        "[ -e {} ] && exit 1; {WORDS} hello; while read -r verb id text; do case $verb in line) case $text in die) exit 1;; *) say \"$id\" $$; over \"$id\";; esac;; esac; done",
        is_broken.display()
    );
    let (server, tagged) = serve(shell(&script).children(2));
    drop(one_for_each(&server, &tagged, 2));
    wait_until("they are gone", || tagged.stats().clients == 0);
    fs::write(&is_broken, "").unwrap();
    let mut ends = 0;
    // However the two are shared among the processes.
    while tagged.is_ready() {
        let mut client = Client::connect(server.local_addr());
        client.send("die\n");
        let said = String::from_utf8(client.rest()).unwrap();
        assert!(["error: internal error\n", "error: busy\n"].contains(&said.as_str()), "{said}");
        ends += 1;
        assert!(ends < 100);
    }
    let mut turned_away = Client::connect(server.local_addr());
    assert_eq!(turned_away.rest(), b"error: busy\n");
    wait_until("it is tried again", || tagged.stats().started >= 6);
    assert!(!tagged.is_ready());
    fs::remove_file(&is_broken).unwrap();
    wait_until("one is good again", || tagged.is_ready());
    assert!(Client::connect(server.local_addr()).ask("x").ends_with('\n'));
    drop(turned_away);
    at_rest(&server);
}

#[test]
fn new_clients_go_to_replaced_processes_at_once_and_the_old_ones_end_with_their_last() {
    let options = |word: &str| for_each_line(&format!(r#"say "$id" "{word} $text"; over "$id""#));
    let (server, tagged) = serve(options("old").children(2));
    let mut olds = [join(&server, &tagged, 1), join(&server, &tagged, 2)];
    tagged.replace(options("new")).expect("it is good");
    let mut new = Client::connect(server.local_addr());
    assert_eq!(new.ask("a"), "new a\n");
    olds.iter_mut().for_each(|old| assert_eq!(old.ask("a"), "old a\n"));
    assert!(matches!(tagged.replace(shell("exit 3")), Err(ExecError::Failed { .. })));
    assert_eq!(new.ask("b"), "new b\n");
    assert_eq!(Client::connect(server.local_addr()).ask("c"), "new c\n");
    olds.iter_mut().for_each(|old| assert_eq!(old.ask("b"), "old b\n"));
    drop(olds);
    wait_until("the new one is left", || tagged.stats().running == 1);
    assert_eq!(new.ask("d"), "new d\n");
    drop(new);
    at_rest(&server);
    assert_eq!((tagged.stats().ended, tagged.stats().confused), (1, 0), "only the one that was no good");
}

/// The error in full.
fn problem(options: TaggedOptions) -> String {
    let error = anyhow::Error::from(options.start(answered_by(0).push()).expect_err("it is no good"));
    format!("{error:#}")
}

#[test]
fn a_program_that_does_not_greet_is_found_at_the_start() {
    for (options, said) in [
        (Tagged::options("no-such-program"), "cannot start no-such-program: No such file or directory (os error 2)"),
        (
            shell("echo cannot 1>&2; exit 7"),
            "sh is no program that answers lines: it has ended: exit status: 7; it says: cannot",
        ),
        (
            shell("echo hello; cat"),
            "sh is no program that answers lines: it said something else than hello first: \"hello\"",
        ),
        (
            shell(r"printf 'hello\t2\n'; cat"),
            "sh is no program that answers lines: it said something else than hello first: \"hello\\t2\"",
        ),
        (
            shell("sleep 1000").reply_timeout(LATE),
            "sh is no program that answers lines: it did not say hello in time; is its output buffered?",
        ),
        (shell("exec >&-; sleep 100"), "sh is no program that answers lines: it has closed its stdout"),
    ] {
        assert_eq!(problem(options), said);
    }
    assert!(Tagged::options("no-such-program").check().is_err() && shell("exit 7").check().is_ok());
    for children in [0, 10_001] {
        let error = shell("cat").children(children).check().expect_err("it is out of range");
        assert!(matches!(error, ExecError::OutOfRange { option: "children", .. }), "{error}");
    }
}

#[test]
fn the_hello_is_all_that_a_program_is_told_before_it_has_answered() {
    let directory = TestDirectory::new();
    let (is_second, go) = (directory.file("second"), directory.file("go"));
    // The second process takes its time, and what comes next must be the first word of a client.
    let script = format!(
        "{WORDS} if [ -e {second} ]; then read -r _; until [ -e {go} ]; do sleep 0.01; done; printf 'hello\\t1\\n'; \
         else : > {second}; hello; fi; while read -r verb id text; do case $verb in \
         line) say \"$id\" \"$$\"; over \"$id\";; esac; done",
        second = is_second.display(),
        go = go.display()
    );
    let (server, tagged) = serve(shell(&script).children(2));
    wait_until("both run", || tagged.stats().running == 2);
    let mut clients: Vec<_> = (1..=4).map(|number| join(&server, &tagged, number)).collect();
    let mut said: Vec<_> = clients.iter_mut().map(|client| client.ask("who?")).collect();
    said.dedup();
    assert_eq!(said.len(), 1, "the other has not greeted");
    drop(clients);
    fs::write(&go, "").unwrap();
    drop(one_for_each(&server, &tagged, 2));
    assert_eq!((tagged.stats().started, tagged.stats().confused), (2, 0));
}

#[test]
fn a_stop_of_the_server_answers_what_is_with_a_process() {
    let directory = TestDirectory::new();
    let ended = directory.file("ended");
    let body = format!(r#"case $verb in line) sleep 0.3; {ECHO};; end) echo "$text" >> {};; esac"#, ended.display());
    let (server, tagged) = serve(talk(&body));
    let (mut client, mut idle) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
    client.send("Bob\n");
    wait_until("it is with the program", || tagged.stats().waiting == 1);
    let report = server.shutdown(PATIENCE);
    assert_eq!((client.rest(), idle.rest(), report.discarded), (b"Bob\n".to_vec(), Vec::new(), 0));
    tagged.stop();
    assert_eq!((tagged.stats().running, tagged.is_ready()), (0, false));
    assert_eq!(fs::read_to_string(&ended).unwrap(), "stopped\nstopped\n");
}

#[test]
fn a_stop_of_the_program_ends_its_clients_and_new_ones_are_busy() {
    let (server, tagged) = serve(for_each_line(&format!("[ $text = wait ] || {{ {ECHO}; }}")));
    let (mut client, mut idle) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
    client.send("wait\nmore\n");
    wait_until("it is with the program", || tagged.stats().waiting == 1);
    tagged.stop();
    assert_eq!((client.rest(), idle.rest()), (b"error: busy\n".to_vec(), Vec::new()));
    assert_eq!(Client::connect(server.local_addr()).rest(), b"error: busy\n");
    drop((client, idle));
    at_rest(&server);
}

#[test]
fn what_is_pushed_comes_before_or_behind_a_reply_as_it_was_said() {
    in_both_placements(|workers| {
        let body = r#"
            push "$id" "1 $text"; say "$id" "2 $text"; push "$id" "3 $text";
            case $text in *refused) refuse "$id" "$text";; *) over "$id";; esac;
            push "$id" "4 $text"; case $text in last) push "$id" 5; close "$id";; esac
        "#;
        let (server, tagged) = serve_with(workers, for_each_line(body));
        let mut client = Client::connect(server.local_addr());
        for round in 0..100 {
            client.send(format!("{round}\n"));
            for order in [1, 3, 2, 4] {
                assert_eq!(client.text(), format!("{order} {round}\n"));
            }
            client.send(format!("{round} refused\n"));
            for said in ["1", "3", "error:", "4"] {
                assert_eq!(client.text(), format!("{said} {round} refused\n"));
            }
        }
        client.send("last\n");
        assert_eq!(String::from_utf8(client.rest()).unwrap(), "1 last\n3 last\n2 last\n4 last\n5\n");
        drop(client);
        at_rest(&server);
        assert_eq!(tagged.stats().pushed, 604);
    });
}

/// Hands lines over with a wait before and behind, as a worker does whom others keep from running.
struct Delayed<R, F> {
    responder: R,
    /// Called before and behind.
    wait: [F; 2],
}

type Gate = (Sender<()>, Mutex<Receiver<()>>);

/// Something that tells that it is called, and then waits.
fn gate() -> (impl Fn() + Send + Sync + 'static, Receiver<()>, Sender<()>) {
    let ((entered, has_entered), (go, may_go)) = (channel(), channel());
    let (entered, may_go): Gate = (entered, Mutex::new(may_go));
    let wait = move || {
        entered.send(()).expect("the test waits");
        may_go.lock().expect("nobody panics with it").recv_timeout(PATIENCE).expect("the test goes on");
    };
    (wait, has_entered, go)
}

impl<R: Responder, F: Fn() + Send + Sync + 'static> Responder for Delayed<R, F> {
    type Session = R::Session;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<R::Session, BoxError> {
        self.responder.connect(peer, reply)
    }

    fn respond(&self, session: &mut R::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let is_delayed = line.as_bytes().starts_with(b"delayed");
        if is_delayed {
            self.wait[0]();
        }
        self.responder.respond(session, line, reply)?;
        if is_delayed {
            self.wait[1]();
        }
        Ok(())
    }

    fn reject(&self, session: Option<&mut R::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        self.responder.reject(session, rejection, reply);
    }

    fn disconnect(&self, session: R::Session, reason: CloseReason) {
        self.responder.disconnect(session, reason);
    }
}

/// A reply that is there before its line waits is sent with the call that has handed the line over:
/// what was pushed before it must not come behind it for that.
#[test]
fn no_reply_overtakes_what_was_pushed_however_late_its_line_waits() {
    // By what the first client hears, all that was said before has been dealt with.
    let body = r#"case $text in
        push) push 2 pushed; say "$id" "it was"; over "$id";;
        *pushing) push "$id" pushed; say "$id" reply; over "$id"; push 1 go;;
        *refused) refuse "$id" reply; push 1 go;;
        *closed) say "$id" reply; close "$id"; push 1 go;;
        *) say "$id" reply; over "$id"; push 1 go;;
    esac"#;
    let cases = [
        ("delayed, pushing", false, "reply\n"),
        ("delayed", true, "reply\n"),
        ("delayed, refused", true, "error: reply\n"),
        ("delayed, closed", true, "reply\n"),
    ];
    // A call that takes more than a millisecond is the last of its turn, and then it is no matter.
    for (line, is_pushed, reply) in cases.repeat(10) {
        let builder = answered_by(2);
        let tagged = for_each_line(body).start(builder.push()).unwrap();
        let (wait, has_entered, go) = gate();
        let wait = Arc::new(wait);
        let server = greeter_tests::spawn(builder.responder(Delayed {
            responder: tagged.clone(),
            wait: [Arc::clone(&wait), wait].map(|wait| move || wait()),
        }));
        let (mut first, mut second) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
        second.send(format!("{line}\n"));
        has_entered.recv_timeout(PATIENCE).expect("the line has come");
        if is_pushed {
            assert_eq!(first.ask("push"), "it was\n");
        }
        go.send(()).unwrap();
        assert_eq!(first.text(), "go\n");
        go.send(()).unwrap();
        assert_eq!((second.text(), second.text()), ("pushed\n".to_owned(), reply.to_owned()), "{line}");
        drop((first, second));
        at_rest(&server);
    }
}

/// Without workers, what is pushed waits for the thread that is in the call.
#[test]
fn no_reply_overtakes_what_was_pushed_to_the_thread_that_hands_its_line_over() {
    let body = r#"push "$id" pushed; say "$id" reply; over "$id"; push 1 go"#;
    let builder = answered_by(0);
    let tagged = for_each_line(body).start(builder.push()).unwrap();
    let (before, behind) = (tagged.clone(), tagged.clone());
    let waits: [Box<dyn Fn() + Send + Sync>; 2] = [
        Box::new(move || assert_eq!(before.stats().pushed, 0)),
        // By then, all that was said before has been dealt with.
        Box::new(move || wait_until("the program has answered", || behind.stats().pushed > 0)),
    ];
    let server = greeter_tests::spawn(builder.responder(Delayed { responder: tagged.clone(), wait: waits }));
    let (mut first, mut second) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
    second.send("delayed\n");
    assert_eq!((second.text(), second.text()), ("pushed\n".to_owned(), "reply\n".to_owned()));
    assert_eq!(first.text(), "go\n");
}

/// What is pushed during a long turn does not wait for its end.
#[test]
fn whoever_waits_for_a_reply_is_pushed_to_meanwhile() {
    let body =
        r#"case $text in wait) ;; *) push 1 "$text"; over "$id"; case $text in end) say 1 done; over 1;; esac;; esac"#;
    let (server, tagged) = serve(for_each_line(body));
    let (mut waiting, mut other) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
    waiting.send("wait\n");
    wait_until("it is with the program", || tagged.stats().waiting == 1);
    for round in 0..50 {
        other.send(format!("{round}\n"));
        assert_eq!(waiting.text(), format!("{round}\n"));
    }
    other.send("end\n");
    assert_eq!((waiting.text(), waiting.text()), ("end\n".to_owned(), "done\n".to_owned()));
}

/// A program that answers in any order, if it does: what a line has at its end, it does.
const TORTURE: &str = r#"
with open(sys.argv[1], 'a') as known:
    print(*[os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)], file=known)
rest, clients, ended, waiting = b'', {}, [], {}
def answer(me, text):
    what = text.split(' ')[-1]
    if what == 'die': os._exit(1)
    if what == 'stop': os.kill(os.getpid(), signal.SIGSTOP)
    if what == 'nonsense': tell('nonsense')
    if what == 'stranger': tell('say', 10 ** 9, text)
    if what == 'flood':
        for _ in range(2000): tell('push', me, text)
    if what == 'late': return
    if ended: tell(random.choice(['say', 'push', 'refuse']), random.choice(ended), text)
    if what == 'stray':
        tell('done', random.choice(list(clients)))
    if what == 'long': tell('say', me, text * 50000)
    if what == 'refuse': return tell('refuse', me, text)
    if what == 'close': return tell('close', me)
    tell('say', me, text)
    tell('done', me)
while chunk := os.read(0, 65536):
    *lines, rest = (rest + chunk).split(b'\n')
    for line in lines:
        verb, *fields = line.decode().split('\t', 2)
        if verb == 'hello': tell('hello', 1)
        if verb == 'open': clients[fields[0]] = 1
        if verb == 'line': waiting.setdefault(fields[0], []).append(fields[1])
        if verb == 'end':
            ended.append(fields[0])
            del clients[fields[0]]
    while waiting:
        # A stray end of a turn may have brought its client's next line, which has to be the next.
        me = random.choice(list(waiting))
        answer(me, waiting[me].pop(0))
        if not waiting[me]: del waiting[me]
"#;

/// What goes wrong, each in one of so many lines.
const WRONGS: [(&str, u64); 10] = [
    ("die", 400),
    ("stop", 1500),
    ("nonsense", 600),
    ("stranger", 600),
    ("flood", 100),
    ("late", 150),
    ("stray", 100),
    ("long", 100),
    ("refuse", 20),
    ("close", 60),
];

/// One client's connection, in which nothing may be but its own. Returns how many of its lines were
/// answered.
fn be_tortured(server: &ServerHandle, name: &str, random: &mut impl FnMut() -> u64) -> usize {
    let lines: Vec<String> = (0..30)
        .map(|number| {
            let wrong = WRONGS.iter().find(|(_, rarity)| random().is_multiple_of(*rarity));
            format!("{name} {number} {}", wrong.map_or("well", |(wrong, _)| wrong))
        })
        .collect();
    let mut client = TcpStream::connect(inet(server.local_addr())).expect("the server accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    // It may be gone by then, and by a reset if it was told too much.
    let _ = client.write_all(lines.iter().flat_map(|line| [line, "\n"]).collect::<String>().as_bytes());
    let _ = client.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    if let Err(error) = client.read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        received.truncate(received.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let mut expected = lines.iter();
    let flood = format!("{name} ");
    for said in String::from_utf8(received).expect("all of it is text").lines() {
        match said.strip_prefix("error: ").unwrap_or(said) {
            "timed out" | "internal error" | "busy" => break,
            // It comes at any time, to nobody else.
            said if said.starts_with(&flood) && said.ends_with(" flood") => {}
            // One may have been ended without a word, by what the program has said of another.
            said => assert!(expected.any(|line| line == said), "{said}"),
        }
    }
    lines.len() - expected.len()
}

/// However a program behaves: nobody ever reads what is another's, every line is accounted for, and
/// nothing is left of any process.
#[test]
fn a_program_that_does_whatever_is_wrong_mixes_up_nobody_and_leaves_nothing() {
    let directory = TestDirectory::new();
    let known = directory.file("known");
    if missing_program("python3", "python3") {
        return;
    }
    // Python takes its time to begin, more than one second on a machine that is busy: so it greets
    // by itself, for as long as that takes, and only the server has lines be late.
    let builder = answered_by(0).reply_timeout(LATE);
    let options = Tagged::options("python3").args(["-c", &format!("{PYTHON}{TORTURE}")]).arg(&known);
    let (name, value) = ("GREETER_TAGGED", std::process::id().to_string());
    let marker = format!("{name}={value}");
    let options = options.env(name, value).children(3).reply_timeout(None);
    let tagged = options.start(builder.push()).expect("the program is good");
    let server = greeter_tests::spawn(builder.responder(tagged.clone()));
    let (clients, rounds) = if is_full() { (50, 100) } else { (12, 12) };
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..clients {
            let (server, tagged, answered) = (&server, &tagged, &answered);
            scope.spawn(move || {
                let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(client + 1);
                let mut random = move || {
                    // xorshift64
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state
                };
                for round in 0..rounds {
                    wait_until("there is a process", || tagged.is_ready());
                    let name = format!("client{client}-{round}");
                    answered.fetch_add(be_tortured(server, &name, &mut random), Ordering::Relaxed);
                }
            });
        }
    });
    provoke_what_chance_has_left_out(&server, &tagged);
    at_rest(&server);
    wait_until("nobody is left", || tagged.stats().clients == 0);
    assert!(answered.into_inner() > 100, "{:?}", tagged.stats());
    // Three at first, and the next for the two that are gone.
    wait_until("others have come", || pipes_of(&known).len() >= 5);
    wait_until("all three are there", || marked(&marker).len() == 3);
    tagged.stop();
    assert_eq!((tagged.stats().running, tagged.stats().waiting), (0, 0));
    assert_eq!(marked(&marker), Vec::<u32>::new(), "processes are left");
    let ours: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("Linux has it")
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .collect();
    for pipe in pipes_of(&known).iter().flatten() {
        assert!(pipe.starts_with("pipe:") && !ours.iter().any(|other| other == Path::new(pipe)), "{pipe} is left");
    }
}

/// Until each kind of wrong has happened.
fn provoke_what_chance_has_left_out(server: &ServerHandle, tagged: &Tagged) {
    for (wrong, count) in [
        ("die", (|stats| stats.ended) as fn(TaggedStats) -> u64),
        ("nonsense", |stats| stats.confused),
        ("late", |stats| stats.late),
    ] {
        wait_until(wrong, || {
            wait_until("there is a process", || tagged.is_ready());
            let mut client = Client::connect(server.local_addr());
            client.send_if_taken(format!("last 0 {wrong}\n"));
            drop(client.rest());
            count(tagged.stats()) > 0
        });
    }
}

/// The pipes of each process that has told of them.
fn pipes_of(known: &Path) -> Vec<Vec<String>> {
    let known = fs::read_to_string(known).unwrap_or_default();
    known.lines().map(|pipes| pipes.split(' ').map(str::to_owned).collect()).collect()
}
