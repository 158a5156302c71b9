//! Many lines in flight.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greeter_client::{Connection, ConnectionError, ConnectionOptions, Pipelined};

use crate::kit::{self, Server, answer, greeter, read_all, read_line, read_to_the_end, reset, serve, stay_silent};

fn connect<T>(server: &Server<T>) -> Connection {
    Connection::connect(&server.address).unwrap()
}

fn impatient<T>(server: &Server<T>) -> Connection {
    let mut options = ConnectionOptions::default();
    options.timeout = Some(Duration::from_millis(300));
    Connection::connect_with(&server.address, &options).unwrap()
}

/// Collects what comes back.
fn collect(lines: &mut Vec<String>) -> impl FnMut(&[u8]) -> ControlFlow<()> {
    |line| {
        lines.push(String::from_utf8(line.to_vec()).unwrap());
        ControlFlow::Continue(())
    }
}

#[track_caller]
fn check(outcome: Result<Pipelined, ConnectionError>, lines: u64, replies: u64, all_sent: bool) {
    let done = outcome.unwrap();
    assert_eq!((done.lines, done.replies, done.all_sent), (lines, replies, all_sent));
}

#[test]
fn every_line_gets_its_reply_in_order() {
    let server = greeter();
    let mut replies = Vec::new();
    let done = connect(&server).pipeline((0..100_000).map(|n| n.to_string()), collect(&mut replies));
    check(done, 100_000, 100_000, true);
    assert!((0..100_000).zip(&replies).all(|(n, reply)| *reply == format!("Hello, {n}")));
}

#[test]
fn no_lines_are_no_replies_but_a_banner_is_read() {
    let server = serve(|mut stream: TcpStream| {
        stream.write_all(b"220 ready\n").unwrap();
        read_all(&stream)
    });
    let mut replies = Vec::new();
    check(connect(&server).pipeline([""; 0], collect(&mut replies)), 0, 1, true);
    assert_eq!(replies, ["220 ready"]);
}

/// 32 MB each way are more than all buffers between the two take. The server reads only when it can
/// write, so that a client that wrote first and read afterwards would wait for ever.
#[test]
fn full_buffers_on_both_sides_do_not_stop_it() {
    let server = serve(|stream| answer(stream, <[u8]>::to_vec));
    let line = "x".repeat(319);
    let done = connect(&server).pipeline((0..100_000).map(|_| &line), |reply| {
        assert_eq!(reply.len(), 319);
        ControlFlow::Continue(())
    });
    check(done, 100_000, 100_000, true);
    server.outcome();
}

/// The iterator waits for the reply to its last line before it gives the next one.
#[test]
fn no_line_is_held_back() {
    let server = greeter();
    let (reply_came, replies) = mpsc::channel();
    reply_came.send(()).unwrap();
    let lines = (0..100).map(move |n| {
        replies.recv_timeout(kit::PATIENCE).expect("the line before was sent and answered");
        n.to_string()
    });
    let done = connect(&server).pipeline(lines, |_| {
        // Nobody waits for the last one.
        let _ = reply_came.send(());
        ControlFlow::Continue(())
    });
    check(done, 100, 100, true);
}

/// Waits for an event between two lines, for longer than the timeout: nothing is owed meanwhile.
#[test]
fn a_pause_of_the_iterator_is_not_the_servers_fault() {
    let server = greeter();
    let (_never, event) = mpsc::channel::<()>();
    let lines = (0..2).map(move |n: u8| {
        let _ = event.recv_timeout(Duration::from_millis(450));
        n.to_string()
    });
    check(impatient(&server).pipeline(lines, |_| ControlFlow::Continue(())), 2, 2, true);
}

#[test]
fn the_time_that_the_callback_takes_is_not_the_servers() {
    let server = greeter();
    let (_never, event) = mpsc::channel::<()>();
    let done = impatient(&server).pipeline(["a", "b"], |_| {
        let _ = event.recv_timeout(Duration::from_millis(450));
        ControlFlow::Continue(())
    });
    check(done, 2, 2, true);
}

/// Nor where the line is one that nobody has asked for, and the server's end is what is owed.
#[test]
fn the_time_that_the_callback_takes_is_not_the_servers_after_the_last_reply() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\ntwo\nthree\n").unwrap();
        read_to_the_end(stream);
    });
    let (_never, event) = mpsc::channel::<()>();
    let done = impatient(&server).pipeline(["a"], |_| {
        let _ = event.recv_timeout(Duration::from_millis(450));
        ControlFlow::Continue(())
    });
    check(done, 1, 3, true);
}

#[test]
fn lines_that_nobody_has_asked_for_do_not_put_off_the_end_that_is_owed() {
    let server = serve(|mut stream| {
        read_line(&stream);
        while stream.write_all(b"more\n").is_ok() {}
    });
    let connection = impatient(&server);
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || told.send(connection.pipeline(["a"], |_| ControlFlow::Continue(()))));
    let err = ended.recv_timeout(kit::PATIENCE).expect("it ends").unwrap_err();
    assert!(matches!(err, ConnectionError::TimedOut { .. }), "{err:?}");
    server.outcome();
}

/// The client waits from the start, but the server has had something to answer only since the line
/// was sent.
#[test]
fn the_time_counts_from_the_line_that_is_owed_a_reply() {
    let server = serve(|stream| stream);
    let (_never, event) = mpsc::channel::<()>();
    let lines = [200, 2000].into_iter().map(move |pause| {
        let _ = event.recv_timeout(Duration::from_millis(pause));
        "line"
    });
    let mut options = ConnectionOptions::default();
    options.timeout = Some(Duration::from_secs(1));
    let connection = Connection::connect_with(&server.address, &options).unwrap();
    let (told, failed) = mpsc::channel();
    let start = Instant::now();
    std::thread::spawn(move || told.send(connection.pipeline(lines, |_| ControlFlow::Continue(())).is_err()));
    // The peer sees the end when the wait is over, even while the iterator is still waiting.
    let mut stream = server.outcome();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 5);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1200) && took < Duration::from_millis(1800), "{took:?}");
    assert!(failed.recv_timeout(kit::PATIENCE).unwrap());
}

#[test]
fn a_server_that_owes_a_reply_times_out() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\n").unwrap();
        stay_silent(stream);
    });
    let start = Instant::now();
    let err = impatient(&server).pipeline(["a", "b"], |_| ControlFlow::Continue(())).unwrap_err();
    let took = start.elapsed();
    assert!(matches!(err, ConnectionError::TimedOut { .. }), "{err:?}");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(800), "{took:?}");
    server.outcome();
}

#[test]
fn a_server_that_reads_nothing_times_out_however_much_there_is_to_send() {
    let server = serve(stay_silent);
    let line = "x".repeat(1000);
    let err = impatient(&server).pipeline((0..).map(|_: u64| &line), |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(err, ConnectionError::TimedOut { .. }), "{err:?}");
}

#[test]
fn a_server_that_closes_first_ends_it_with_a_count() {
    let server = serve(|mut stream| {
        let name = read_line(&stream);
        stream.write_all(&name).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_the_end(stream);
    });
    let line = "x".repeat(1000);
    let done = connect(&server).pipeline((0..).map(|_: u64| &line), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((done.replies, done.all_sent), (1, false));
}

#[test]
fn a_reset_is_an_error_behind_the_replies_that_came() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\n").unwrap();
        reset(stream);
    });
    let mut replies = Vec::new();
    let err = connect(&server).pipeline(["a", "b", "c"], collect(&mut replies)).unwrap_err();
    assert!(matches!(err, ConnectionError::Lost(_)), "{err:?}");
    assert_eq!(replies, ["one"]);
}

#[test]
fn a_reply_that_is_cut_off_is_not_given_out() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\ntw").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_the_end(stream);
    });
    let mut replies = Vec::new();
    let err = connect(&server).pipeline(["a", "b"], collect(&mut replies)).unwrap_err();
    assert!(matches!(err, ConnectionError::PartialLine { bytes: 2 }), "{err:?}");
    assert_eq!(replies, ["one"]);
}

#[test]
fn the_callback_can_break_off_an_endless_stream() {
    let server = serve(|stream| {
        let mut output = stream.try_clone().unwrap();
        let mut chunk = [0; 4096];
        let mut input = stream;
        while matches!(input.read(&mut chunk), Ok(1..)) && output.write_all(b"reply\n").is_ok() {}
    });
    let mut left = 10;
    let done = connect(&server).pipeline((0..).map(|n: u64| n.to_string()), |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(done.map(|done| (done.replies, done.all_sent)).unwrap(), (10, false));
    server.outcome();
}

#[test]
fn lines_before_one_that_holds_a_newline_are_sent_and_answered() {
    let server = greeter();
    let mut replies = Vec::new();
    let err = connect(&server).pipeline(["Ann", "Ben", "C\nD", "Eve"], collect(&mut replies)).unwrap_err();
    assert!(matches!(err, ConnectionError::LfInLineError));
    assert_eq!(replies, ["Hello, Ann", "Hello, Ben"]);
    server.outcome();
}

#[test]
fn a_panic_of_the_callback_or_of_the_iterator_reaches_the_caller() {
    let server = serve(|stream| {
        let mut output = stream.try_clone().unwrap();
        let _ = output.write_all(b"reply\n");
        read_to_the_end(stream);
    });
    let endless = (0..).map(|n: u64| n.to_string());
    let connection = connect(&server);
    let outcome = catch_unwind(AssertUnwindSafe(|| connection.pipeline(endless, |_| panic!("by the callback"))));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"by the callback"));
    server.outcome();

    let server = greeter();
    let connection = connect(&server);
    let lines = (0..10).map(|n| if n < 5 { n.to_string() } else { panic!("by the iterator") });
    let mut replies = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| connection.pipeline(lines, collect(&mut replies))));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"by the iterator"));
    assert_eq!(replies.len(), 5);
    server.outcome();
}

/// It owes nothing but its end, and does not say even that.
#[test]
fn a_server_that_has_answered_all_and_does_not_close_is_left_when_it_is_silent() {
    let serve_lines = |replies: &'static [u8]| {
        serve(move |mut stream| {
            read_all(&stream);
            stream.write_all(replies).unwrap();
            stay_silent(stream);
        })
    };
    let options = |timeout, idle| {
        let mut options = ConnectionOptions::default();
        options.timeout = timeout;
        options.idle = Some(Duration::from_millis(idle));
        options
    };
    let ask = |replies, options: &ConnectionOptions| {
        let connection = Connection::connect_with(&serve_lines(replies).address, options).unwrap();
        connection.pipeline(["a", "b"], |_| ControlFlow::Continue(()))
    };
    for replies in [&b"one\ntwo\n"[..], b"one\ntwo\nthree\nfo"] {
        let done = ask(replies, &options(None, 300)).unwrap();
        assert_eq!((done.left_idle, done.all_sent, done.truncated), (true, true, false));
        assert!(done.replies >= 2, "{done:?}");
    }
    // While it owes a reply, that is none of its silences.
    let err = ask(b"one\n", &options(Some(Duration::from_millis(300)), 1)).unwrap_err();
    assert!(matches!(err, ConnectionError::TimedOut { timeout } if timeout == Duration::from_millis(300)), "{err:?}");
    let done = Connection::connect_with(&greeter().address, &options(None, 60_000)).unwrap();
    assert!(!done.pipeline(["a"], |_| ControlFlow::Continue(())).unwrap().left_idle);
}
