use std::time::Duration;

use greeter_server::Exec;
use greeter_tests::answered_by;
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};

use crate::kit::{ECHO, SOON, for_each_line, serve};

#[test]
fn each_line_has_the_programs_line_for_reply() {
    let (server, exec) = serve(for_each_line(ECHO));
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(server.local_addr())).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("{number} {round}\nsecond\r\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!((client.text(), client.text()), (format!("{number} {round}\n"), "second\r\n".to_owned()));
        }
    }
    assert_eq!(clients[0].ask(""), "\n");
    drop(clients);
    at_rest(&server);
    let stats = exec.stats();
    assert_eq!((stats.answered, stats.started, stats.ended), (201, 1, 0));
}

#[test]
fn a_cr_before_the_lf_is_no_part_of_the_reply() {
    let (server, _) = serve(for_each_line(r#"printf '%s\r\n' "$line""#));
    assert_eq!(Client::connect(server.local_addr()).ask("Bob"), "Bob\n");
}

#[test]
fn whoever_is_not_answered_in_time_goes_on_with_another_process() {
    let (server, exec) =
        serve(for_each_line(&format!("case $line in sleep) sleep 1000;; esac; {ECHO}")).reply_timeout(SOON));
    let mut client = Client::connect(server.local_addr());
    for round in 1..4 {
        client.send("sleep\nBob\n");
        assert_eq!((client.text(), client.text()), ("error: timed out\n".to_owned(), "Bob\n".to_owned()));
        assert_eq!((exec.stats().late, exec.stats().answered), (round, round));
    }
    drop(client);
    at_rest(&server);
}

/// Each line has its client's number in it: nobody may ever read another's.
#[test]
fn what_was_not_asked_for_ends_the_process_and_is_nobodys_answer() {
    for stray in [
        "printf 'stray\\n%s\\n' \"$line\"; continue",
        "printf 'one\\nstray\\n'; continue",
        "printf '%s\\nstr' \"$line\"; continue",
        "(sleep 0.1; echo stray) &",
        "exec >&-",
        "exit 3",
        "kill -9 $$",
        "printf half; kill -9 $$",
        "head -c 100000 /dev/zero | tr '\\0' x",
    ] {
        let body = format!("case $line in *stray) {stray};; esac; {ECHO}");
        let (server, exec) = serve(for_each_line(&body).reply_timeout(SOON));
        let (mut bad, mut good) = (Client::connect(server.local_addr()), Client::connect(server.local_addr()));
        for round in 0..5 {
            bad.send("1 stray\n");
            let said = bad.text();
            let is_own = ["1 stray\n", "one\n", "stray\n", "error: timed out\n", "error: internal error\n"];
            assert!(is_own.contains(&said.as_str()), "{stray}: {said}");
            if stray.contains("sleep") {
                // It is there by now, or comes when nobody is asked.
                wait_until("it is seen", || exec.stats().strays > round);
            }
            assert_eq!(good.ask(&format!("2 {round}")), format!("2 {round}\n"), "{stray}");
            assert_eq!(bad.ask("1 good"), "1 good\n", "{stray}");
        }
        let stats = exec.stats();
        assert!(stats.started >= 5 && stats.strays + stats.ended + stats.late >= 5, "{stray}: {stats:?}");
        drop((bad, good));
        at_rest(&server);
    }
}

/// What was too late for one is too late for all, also if that one has never read it.
#[test]
fn a_line_that_is_late_is_given_to_nobody_else() {
    let (server, exec) = serve(for_each_line(&format!("{ECHO}; sleep 1000")).children(2).reply_timeout(SOON));
    wait_until("both are there", || exec.stats().running == 2);
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("first"), "first\n");
    // The one that is asked first is the one that was free last, and it sleeps.
    assert_eq!(client.ask("second"), "error: timed out\n");
    assert_eq!((exec.stats().answered, exec.stats().late), (1, 1));
    drop(client);
    at_rest(&server);
}

/// A line that nobody has begun to read is not lost with the process that was to read it.
#[test]
fn a_line_that_was_not_read_goes_to_another_process() {
    // It reads its one line by bytes, as sh does, and dies with the next one in the pipe.
    let (server, exec) = serve(for_each_line(&format!("{ECHO}; sleep 0.05; kill -9 $$")));
    let mut client = Client::connect(server.local_addr());
    for round in 0..5 {
        assert_eq!(client.ask(&format!("{round}")), format!("{round}\n"));
    }
    assert!(exec.stats().ended >= 4);
    drop(client);
    at_rest(&server);
}

#[test]
fn a_line_that_waits_too_long_for_a_process_is_busy() {
    let (server, _exec) = serve(for_each_line(&format!("sleep 1; {ECHO}")).queue_timeout(Duration::from_millis(50)));
    let mut first = Client::connect(server.local_addr());
    first.send("first\n");
    wait_until("it is with the process", || server.stats().parked == 1);
    let mut second = Client::connect(server.local_addr());
    let said = second.ask("second");
    assert!(["error: busy\n", "second\n"].contains(&said.as_str()), "{said}");
    assert_eq!(first.text(), "first\n");
    drop((first, second));
    at_rest(&server);
}

#[test]
fn a_line_of_any_length_goes_through_pipes_of_any_size() {
    let options = Exec::options("cat").children(1).max_reply_bytes(4 << 20);
    let exec = options.start().expect("cat is everywhere");
    let builder = answered_by(0).max_line_bytes(4 << 20).max_unsent_bytes(8 << 20).max_buffer_bytes(256 << 20);
    let server = greeter_tests::spawn(builder.responder(exec));
    let mut client = Client::connect(server.local_addr());
    for bytes in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 3 << 20] {
        let line = "x".repeat(bytes);
        assert_eq!(client.ask(&line), format!("{line}\n"));
    }
}

#[test]
fn lines_of_one_client_may_be_given_together() {
    let exec = for_each_line(ECHO).batch(16).start().expect("the program is good");
    let server = greeter_tests::spawn(answered_by(0).in_parallel(16).responder(exec.clone()));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.local_addr())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send((0..100).map(|line| format!("{number} {line}\n")).collect::<String>());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for line in 0..100 {
            assert_eq!(client.text(), format!("{number} {line}\n"));
        }
    }
    drop(clients);
    at_rest(&server);
    assert_eq!(exec.stats().answered, 400);
}
