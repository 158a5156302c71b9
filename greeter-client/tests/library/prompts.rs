//! Prompts, which are lines that are left unfinished: in a session and in a script, against servers
//! that cut their bytes at every place. What comes of it depends on the bytes alone.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::session::{Actual, Expected, MAX_PROMPT_BYTES, Mismatch, SessionOptions, StreamEnd};
use greeter_client::talk::{Incoming, Prompt, Script, Variables};
use greeter_client::{Eol, ServerAddress, Session, SessionError};

use crate::kit::{ends, ran, read_all, sends, serve};

const SHORT: Duration = Duration::from_millis(200);

fn hears(bytes: &[u8]) -> Session {
    Session::new(SessionOptions::to(sends(vec![bytes.to_vec()]).address))
}

#[track_caller]
fn mismatch<T: std::fmt::Debug>(outcome: Result<T, SessionError>) -> Box<Mismatch> {
    match outcome {
        Err(SessionError::Mismatch(mismatch)) => mismatch,
        outcome => panic!("{outcome:?}"),
    }
}

const PRICES: &[u8] = b"it costs 5$ a day\nuser@h-7:~$ next";

#[test]
fn a_prompt_is_found_however_its_bytes_are_cut() {
    ends(PRICES, "< it costs {{*}}\n<prompt \"user@h-{{n}}:~$ \"\n<\"next\"\n", "passed");
    // The price of little text: it is met by what only looks like a prompt, and that each time.
    ends(PRICES, "<prompt \"{{*}}$ \"\n< a day\n<prompt \"{{*}}$ \"\n<\"next\"\n", "passed");
    ends(PRICES, "<prompt \"it costs {{n:\\d}}$ \"\n< a day\n<\"user@h-7:~$ next\"\n", "passed");
}

#[test]
fn what_it_captures_is_a_value_from_then_on() {
    ends(
        b"user@h-71:~$ 71\nuser@h-71:~$ user@h-72:~$ ",
        "<prompt \"user@{{host:h-(\\d+)}}:~{{sign}} \"\n< 71\n<prompt \"user@{{host}}:~{{sign}} \"\n<\"user@h-72:~$ \"\n",
        "passed",
    );
    // Another value is another prompt, of which it is decided where the line ends.
    ends(
        b"7$ 8$ \n7$ ",
        "<prompt \"{{n}}$ \"\n<prompt \"{{n}}$ \"\n",
        "  a.talk:2\n      <\"7$ \"\n    - <prompt \"7$ \"\n    + < 8$ \n  \
         hint: what ends with a newline is no prompt: expect it as a line, or skip it with <*",
    );
}

#[test]
fn lines_before_it_are_skipped_where_the_script_says_so_and_else_told() {
    ends(PRICES, "<*\n<prompt \"user@h-{{n:\\d}}:~$ \"\n<\"next\"\n", "passed");
    ends(b"one\n\n# two $ \n$ three", "<*\n<prompt \"{{:[^#]?}}$ \"\n<\"three\"\n", "passed");
    ends(
        PRICES,
        "# Who asks?\n<prompt \"{\\x7b{{:[^}]}}@h-{{n:\\d}}:~$ \\e\"\n",
        "  # Who asks?\n  a.talk:2\n    - <prompt \"\\x7b\\x7b{{:[^}]}}@h-{{n:\\d}}:~$ \\e\"\n    \
         + < it costs 5$ a day\n  hint: what ends with a newline is no prompt: expect it as a line, or skip it with <*",
    );
}

#[test]
fn a_cr_is_a_byte_of_a_prompt_and_of_a_line_that_is_skipped() {
    ends(b"\r\x1b[K\rh-7> x", "<prompt \"{{*}}h-{{n}}> \"\n<\"x\"\n", "passed");
    ends(b"a\r\nb> \r\nb> ", "eol crlf\n<*\n<prompt \"{{:[ab]}}> \"\n<\nabandon\n", "passed");
    ends(b"a\r\nb> \r\nb> ", "<*\n<prompt \"{{:[ab]}}> \\r\"\n<\nabandon\n", "passed");
    // A free placeholder does not take it at the end of a line, and here is none.
    ends(b"a\r> ", "<prompt \"{{x}}> \"\n", "passed");
}

#[test]
fn a_prompt_within_a_longer_one_ends_where_it_does_first() {
    ends(b">>> >>> ", "<prompt \">{{*}}> \"\n<prompt \">>> \"\n", "passed");
    ends(b"aaaa", "<prompt \"{{:a*}}aa\"\n<prompt \"aa\"\n", "passed");
    ends(b"a-b-c- ", "<prompt \"{{x}}-{{y}}-\"\n<prompt \"c- \"\n", "passed");
}

#[test]
fn a_prompt_has_4_kib_and_not_a_byte_more() {
    let line = |length: usize| [&b"x".repeat(length - 2)[..], b"$ "].concat();
    for (pieces, is_met) in [(1, true), (1, false), (5000, true), (5000, false)] {
        let length = MAX_PROMPT_BYTES + usize::from(!is_met);
        let bytes = line(length);
        let pieces: Vec<Vec<u8>> = bytes.chunks(bytes.len().div_ceil(pieces)).map(<[u8]>::to_vec).collect();
        let server = serve(move |mut stream: TcpStream| {
            stream.set_nodelay(true).unwrap();
            pieces.iter().for_each(|piece| stream.write_all(piece).unwrap());
            read_all(&stream);
        });
        let mut session = Session::new(SessionOptions::to(server.address));
        let outcome = session.on("").expect_prompt("$ ", |_, _| true);
        if is_met {
            outcome.unwrap();
            session.finish().unwrap();
        } else {
            let mismatch = mismatch(outcome);
            assert!(!mismatch.timed_out);
            assert_eq!(mismatch.actual, Actual::Bytes(bytes[..MAX_PROMPT_BYTES].to_vec()));
            session.on("").expect_bytes(&bytes).unwrap();
        }
    }
    // What is longer is skipped like any other line, once it has ended.
    let mut session = hears(&[&line(5000)[..], b"$ \n$ "].concat());
    session.on("").skipping().expect_prompt("$ ", |_, prompt| prompt.len() < 5).unwrap();
    session.finish().unwrap();

    let report = ran(&sends(vec![line(5000)]).address, "<prompt \"{{*}}$ \"\n");
    assert!(report.contains("x\"… (4096 bytes)\n"), "{report}");
    assert!(report.ends_with("\n  hint: a prompt ends within the first 4096 bytes of its line"), "{report}");
}

#[test]
fn the_end_of_the_stream_ends_the_wait() {
    let says = |bytes: &'static [u8]| {
        let server = serve(move |mut stream: TcpStream| stream.write_all(bytes).unwrap());
        Session::new(SessionOptions::to(server.address))
    };
    let found = mismatch(says(b"user@h-7").on("").expect_prompt("$ ", |_, _| true));
    assert_eq!((found.actual, found.end), (Actual::PartialLine(b"user@h-7".to_vec()), Some(StreamEnd::Eof)));
    let found = mismatch(says(b"").on("").expect_prompt("$ ", |_, _| true));
    assert_eq!(found.actual, Actual::End(StreamEnd::Eof));
    let found = mismatch(says(b"one\n$").on("").skipping().expect_prompt("$ ", |_, _| true));
    assert_eq!((found.actual, found.skipped_lines), (Actual::PartialLine(b"$".to_vec()), 1));
    let mut session = says(b"$ ");
    session.on("").expect_prompt("$ ", |_, _| true).unwrap();
    session.on("").expect_eof().unwrap();
}

#[test]
fn what_does_not_come_is_late_and_nothing_of_what_came_is_consumed() {
    let mut session = hears(b"one\nuser@h-7:");
    let since = Instant::now();
    let found = mismatch(session.on("").within(SHORT).skipping().expect_prompt(":~$ ", |_, _| true));
    assert!(found.timed_out && since.elapsed() >= SHORT);
    assert_eq!(found.actual, Actual::PartialLine(b"user@h-7:".to_vec()));
    assert_eq!(found.expected, Expected::Prompt(b":~$ ".to_vec()));
    let message = found.to_string();
    let start =
        "the connection: expected a prompt like \":~$ \", but only the unfinished line \"user@h-7:\" came within ";
    assert!(message.starts_with(start) && message.ends_with("; lines that were skipped before: 1"), "{message}");
    let found = mismatch(session.on("").expect_prompt(":", |_, _| false).and_then(|()| session.on("").expect("")));
    assert!(found.timed_out || found.end.is_some(), "{found:?}");
}

#[test]
fn each_of_a_crowd_has_a_prompt_of_its_own() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ServerAddress::from(listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = crate::kit::read_line(&stream);
                let prompt = [b"guest ", number.trim_ascii(), b" of 3> "].concat();
                for byte in prompt {
                    stream.write_all(&[byte]).unwrap();
                }
                read_all(&stream);
            });
        }
    });
    let script = "connect c x3\nc> {{#}}\nc<prompt \"guest {{#}} of {{all:\\d}}> \"\n";
    assert_eq!(ran(&address, script), "passed");
    let wrong = script.replace("all:\\d", "all:[^3]");
    let report = ran(&address, &wrong.replace("c<prompt", "within 200ms\nc<prompt"));
    assert!(
        report.contains("  on c.1\n") && report.contains("    - c.1<prompt \"guest 1 of {{all:[^3]}}> \""),
        "{report}"
    );
    // What the first has captured holds for the others.
    let report = ran(&address, "connect c x3\nc> {{#}}\nwithin 200ms\nc<prompt \"guest {{n}} of 3> \"\n");
    assert!(report.contains("    - c.2<prompt \"guest 1 of 3> \"\n    + c.2<\"guest 2 of 3> \" (a line"), "{report}");
}

#[test]
fn a_prompt_is_parsed_and_displayed_as_it_is_written() {
    for (text, ending) in [(r#""{{user}}@host-{{n:\d+}}:~$ ""#, ":~$ "), (r#""\x7b{\"\\\e""#, "{{\"\\\u{1b}")] {
        let prompt: Prompt = text.parse().unwrap();
        assert_eq!((prompt.to_string().as_str(), prompt.ending()), (text, ending.as_bytes()));
        let script = Script::parse("a.talk", format!("<prompt {text}\n")).unwrap();
        let greeter_client::talk::Action::Expect { what: Incoming::Prompt(parsed), .. } = script.steps()[0].action()
        else {
            panic!("no prompt");
        };
        assert_eq!(*parsed, prompt);
    }
    for (text, message) in [
        ("$ ", "a prompt stands in double quotes"),
        ("\"$ \" ", "nothing can follow the closing quote"),
        ("\"{{n}}\"", "a prompt must end in text, so that it is known where it ends"),
    ] {
        assert_eq!(text.parse::<Prompt>().unwrap_err().to_string(), message);
    }
    let mut variables = Variables::default();
    variables.set("n".parse().unwrap(), "7");
    let prompt: Prompt = r#""h-{{n}}{{*}}$ ""#.parse().unwrap();
    assert_eq!(prompt.expected(&variables, None), br"h-7{{*}}$ ");
    assert!(prompt.matches(b"h-7:~$ ", &variables, None).is_some());
    assert!(prompt.matches(b"h-8:~$ ", &variables, None).is_none());
}

#[test]
fn the_ending_of_a_line_is_that_of_the_session_where_it_stands_in_place_of_a_prompt() {
    let mut session = hears(b"no\r\n$ ");
    session.set_eol(Eol::CrLf);
    assert_eq!(mismatch(session.on("").expect_prompt("$ ", |_, _| true)).actual, Actual::Line(b"no".to_vec()));
    session.on("").expect("no").unwrap();
    session.on("").expect_prompt("$ ", |_, _| true).unwrap();
    session.finish().unwrap();
}
