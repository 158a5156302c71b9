//! Bytes in, bytes out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greeter_client::{Connection, ConnectionOptions, Eol, PipeEnd, PipeError, Traffic};

use crate::kit::{PATIENCE, Server, greeter, read_all, read_line, read_to_the_end, reset, serve, stay_silent};

fn connect<T>(server: &Server<T>) -> Connection {
    Connection::connect(&server.address).unwrap()
}

/// A connection whose server is left when it has been silent for so many milliseconds.
fn leaving<T>(server: &Server<T>, idle: u64) -> Connection {
    let mut options = ConnectionOptions::default();
    options.idle = Some(Duration::from_millis(idle));
    Connection::connect_with(&server.address, &options).unwrap()
}

/// An input that gives what it is sent, and waits for more until the other end is dropped.
struct Channel(mpsc::Receiver<&'static [u8]>);

impl Read for Channel {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.recv().unwrap_or_default();
        space[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

fn channel() -> (mpsc::Sender<&'static [u8]>, Channel) {
    let (sender, receiver) = mpsc::channel();
    (sender, Channel(receiver))
}

/// An input that never ends.
struct Endless;

impl Read for Endless {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        space.fill(b'x');
        Ok(space.len())
    }
}

/// An input or an output that fails.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("bad sector"))
    }
}

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("no space"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_inputs_end_is_told_and_the_replies_are_read_to_theirs() {
    let server = greeter();
    let mut output = Vec::new();
    let piped = connect(&server).pipe(&b"Ann\nB\xff\0n\r\n\n"[..], &mut output).unwrap();
    assert_eq!(output, b"Hello, Ann\nHello, B\xff\0n\r\nHello, \n");
    assert_eq!((piped.bytes_sent, piped.bytes_received, piped.end), (11, 32, PipeEnd::Input));
    assert!(!piped.input_cut);
}

#[test]
fn an_unfinished_line_is_sent_as_it_is_and_reported() {
    let server = serve(|stream| read_all(&stream));
    let piped = connect(&server).pipe(&b"Ann\nBe"[..], io::sink()).unwrap();
    assert_eq!(server.outcome(), b"Ann\nBe");
    assert!(piped.input_cut);
}

#[test]
fn crlf_changes_what_is_sent_and_not_what_comes_back() {
    let server = serve(|mut stream| {
        stream.write_all(b"a\r\nb\n").unwrap();
        read_all(&stream)
    });
    let mut options = ConnectionOptions::default();
    options.eol = Eol::CrLf;
    let mut output = Vec::new();
    let connection = Connection::connect_with(&server.address, &options).unwrap();
    let piped = connection.pipe(&b"Ann\nBen\r\n"[..], &mut output).unwrap();
    assert_eq!(server.outcome(), b"Ann\r\nBen\r\n");
    assert_eq!(output, b"a\r\nb\n");
    assert_eq!(piped.bytes_sent, 10);
}

/// Each side waits for what the other has just said.
#[test]
fn both_directions_stream() {
    let server = serve(|mut stream| {
        stream.write_all(b"login: ").unwrap();
        assert_eq!(read_line(&stream), b"Bob\n");
        stream.write_all(b"hello\n").unwrap();
        read_all(&stream)
    });
    struct Dialogue(mpsc::Sender<&'static [u8]>, Vec<u8>);
    impl Write for Dialogue {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(bytes);
            match &self.1[..] {
                b"login: " => self.0.send(b"Bob\n").unwrap(),
                // Nothing more: the input ends.
                b"login: hello\n" => self.0 = mpsc::channel().0,
                _ => {}
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sender, input) = channel();
    let piped = connect(&server).pipe(input, Dialogue(sender, Vec::new())).unwrap();
    assert_eq!(piped.end, PipeEnd::Input);
    assert_eq!(server.outcome(), b"");
}

/// What was received as part of a banner before the pipe began is not lost.
#[test]
fn what_came_before_is_part_of_the_output() {
    let server = serve(|mut stream| {
        stream.write_all(b"220 one\n220 two\n").unwrap();
        read_all(&stream);
    });
    let mut connection = connect(&server);
    assert_eq!(connection.receive().unwrap(), Some(&b"220 one"[..]));
    let mut output = Vec::new();
    connection.pipe(io::empty(), &mut output).unwrap();
    assert_eq!(output, b"220 two\n");
}

#[test]
fn a_server_that_closes_first_ends_it_while_the_input_waits() {
    for _ in 0..20 {
        let server = serve(|mut stream| {
            read_line(&stream);
            stream.write_all(b"bye\n").unwrap();
        });
        let (sender, input) = channel();
        sender.send(b"QUIT\n").unwrap();
        let mut output = Vec::new();
        let piped = connect(&server).pipe(input, &mut output).unwrap();
        assert_eq!(output, b"bye\n");
        assert_eq!(piped.end, PipeEnd::Server { bytes_unsent: 0 });
        drop(sender);
    }
}

#[test]
fn a_server_that_closes_first_leaves_a_count_of_what_was_not_sent() {
    for _ in 0..20 {
        closes_before_the_inputs_end();
    }
}

fn closes_before_the_inputs_end() {
    let server = serve(|mut stream: TcpStream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.write_all(b"enough\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_the_end(stream);
    });
    let mut output = Vec::new();
    let piped = connect(&server).pipe(Endless, &mut output).unwrap();
    assert_eq!(output, b"enough\n");
    assert!(matches!(piped.end, PipeEnd::Server { bytes_unsent: 1.. }), "{piped:?}");
}

#[test]
fn a_reset_is_a_lost_connection() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\n").unwrap();
        reset(stream);
    });
    let mut output = Vec::new();
    let (_sender, input) = {
        let (sender, input) = channel();
        sender.send(b"a\nb\n").unwrap();
        (sender, input)
    };
    let err = connect(&server).pipe(input, &mut output).unwrap_err();
    assert!(matches!(err, PipeError::Lost(_)), "{err:?}");
    assert_eq!(output, b"one\n");
}

#[test]
fn a_reply_that_is_cut_off_is_passed_on_and_reported() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"Hello, Ann\nHel").unwrap();
        read_all(&stream);
    });
    let mut output = Vec::new();
    let err = connect(&server).pipe(&b"Ann\n"[..], &mut output).unwrap_err();
    assert!(matches!(err, PipeError::PartialLine { bytes: 3 }), "{err:?}");
    assert_eq!(output, b"Hello, Ann\nHel");
}

#[test]
fn a_failing_input_is_reported_behind_the_replies_to_what_was_read() {
    let server = greeter();
    let mut output = Vec::new();
    let err = connect(&server).pipe((&b"Ann\n"[..]).chain(Failing), &mut output).unwrap_err();
    assert!(matches!(err, PipeError::Input(_)), "{err:?}");
    assert_eq!(output, b"Hello, Ann\n");
}

#[test]
fn a_failing_output_ends_it_at_once() {
    let server = greeter();
    let (sender, input) = channel();
    sender.send(b"Ann\n").unwrap();
    let err = connect(&server).pipe(input, Failing).unwrap_err();
    assert!(matches!(err, PipeError::Output(_)), "{err:?}");
}

/// What was said is told before what is said in reply, and the end comes last.
#[test]
fn who_watches_is_told_everything_in_its_order() {
    let server = serve(|mut stream| {
        for _ in 0..3 {
            let line = read_line(&stream);
            stream.write_all(&line).unwrap();
        }
        read_all(&stream);
        stream.write_all(b"bye").unwrap();
    });
    let mut options = ConnectionOptions::default();
    options.eol = Eol::CrLf;
    let (told, telling) = mpsc::channel();
    let connection = Connection::connect_with(&server.address, &options).unwrap();
    let err = connection.pipe_watched(&b"a\nb\nc\n"[..], io::sink(), move |traffic| {
        let told = match traffic {
            Traffic::Sent(bytes) => told.send(format!("> {}", bytes.escape_ascii())),
            // However the replies are cut.
            Traffic::Received(bytes) => {
                bytes.iter().try_for_each(|byte| told.send(format!("< {}", byte.escape_ascii())))
            }
            other => told.send(format!("{other:?}")),
        };
        told.map_err(io::Error::other)
    });
    assert!(matches!(err, Err(PipeError::PartialLine { bytes: 3 })), "{err:?}");
    let mut told: Vec<String> = telling.iter().collect();
    let half_closed = told.iter().position(|one| one == "HalfClosed").unwrap();
    told.remove(half_closed);
    assert!((1..=10).contains(&half_closed), "{half_closed}");
    assert_eq!(
        told.join(" "),
        "> a\\r\\nb\\r\\nc\\r\\n < a < \\r < \\n < b < \\r < \\n < c < \\r < \\n < b < y < e Ended(Eof)"
    );
}

#[test]
fn who_watches_may_break_it_off() {
    for (refused, answers) in [("sent", false), ("received", true), ("half-closed", false), ("ended", true)] {
        let server = serve(move |mut stream| {
            if answers {
                stream.write_all(b"hello\n").unwrap();
            }
            read_to_the_end(stream);
        });
        let err = connect(&server).pipe_watched(&b"a\n"[..], io::sink(), move |traffic| {
            let passed = match traffic {
                Traffic::Sent(_) => "sent",
                Traffic::Received(_) => "received",
                Traffic::HalfClosed => "half-closed",
                _ => "ended",
            };
            if passed == refused { Err(io::Error::other("enough")) } else { Ok(()) }
        });
        assert!(matches!(err, Err(PipeError::Watch(_))), "{refused}: {err:?}");
        server.outcome();
    }
}

/// It answers, and does not care that its client has said all.
#[test]
fn a_server_that_does_not_close_is_left_when_it_is_silent() {
    let server = serve(|mut stream| {
        let line = read_all(&stream);
        stream.write_all(&line).unwrap();
        stay_silent(stream);
    });
    let (tell, telling) = mpsc::channel();
    let mut output = Vec::new();
    let piped = leaving(&server, 1_000).pipe_watched(&b"Ann\nBe"[..], &mut output, move |traffic| {
        tell.send(format!("{traffic:?}")).map_err(io::Error::other)
    });
    // What came of a line has no end.
    assert!(matches!(piped, Err(PipeError::SilentInLine { bytes: 2, .. })), "{piped:?}");
    assert_eq!(output, b"Ann\nBe");
    // Nobody has ended it but us.
    assert_eq!(telling.iter().last().unwrap(), "Closed");

    let server = serve(stay_silent);
    let piped = leaving(&server, 1).pipe(&b"Ann\nBe"[..], io::sink()).unwrap();
    assert_eq!((piped.end, piped.left_idle, piped.input_cut, piped.truncated), (PipeEnd::Input, true, true, false));
    // One that closes is not left, however much patience there is.
    let piped = leaving(&greeter(), 60_000).pipe(&b"Ann\n"[..], io::sink()).unwrap();
    assert!(!piped.left_idle);
}

#[test]
fn a_silence_while_there_is_still_something_to_send_is_none() {
    let server = serve(|mut stream| {
        let line = read_line(&stream);
        stream.write_all(&line).unwrap();
        stay_silent(stream);
    });
    let (sender, input) = channel();
    thread::spawn(move || {
        // Far longer than the silence may be: whoever counted it would be gone.
        thread::park_timeout(Duration::from_millis(100));
        let _ = sender.send(b"Ann\n");
        thread::park_timeout(Duration::from_millis(500));
    });
    let mut output = Vec::new();
    let piped = leaving(&server, 1).pipe(input, &mut output).unwrap();
    assert_eq!((&output[..], piped.left_idle), (&b"Ann\n"[..], true));
}

/// An output that takes longer for its first line than the server may be silent. Meanwhile all else
/// comes.
#[test]
fn a_silence_begins_anew_behind_what_has_come_and_been_written() {
    let (begun, begin) = mpsc::channel::<()>();
    let (finish, finished) = mpsc::channel::<()>();
    let server = serve(move |mut stream| {
        read_all(&stream);
        stream.write_all(b"one\n").unwrap();
        begin.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"two\n").unwrap();
        drop(stream);
        finish.send(()).unwrap();
    });
    struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>, Vec<u8>);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.2.is_empty() {
                self.0.send(()).unwrap();
                self.1.recv_timeout(PATIENCE).unwrap();
                thread::park_timeout(Duration::from_millis(1_200));
            }
            self.2.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut output = Slow(begun, finished, Vec::new());
    let piped = leaving(&server, 1_000).pipe(&b"Ann\n"[..], &mut output).unwrap();
    assert_eq!((&output.2[..], piped.left_idle), (&b"one\ntwo\n"[..], false));
}
