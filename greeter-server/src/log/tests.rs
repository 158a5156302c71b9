use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::panic::catch_unwind;
use std::time::Duration;

use serde_json::Value;
use tracing::Level;
use tracing::subscriber::with_default;

use super::line::MAX_LINE_BYTES;
use super::*;

/// Returns a log that writes to a pipe: its thread, its subscriber, and the other end of the pipe.
fn log(format: Format) -> (Writer, LogSubscriber, PipeReader) {
    let (reader, output) = io::pipe().unwrap();
    let limits = Arc::new(RateLimits::default());
    let writer = Writer::start(&output, format, Arc::clone(&limits)).unwrap();
    let level = Arc::new(SharedLevel::new(LevelFilter::DEBUG));
    let log = LogSubscriber { level, format, limits, queue: writer.queue() };
    (writer, log, reader)
}

/// Returns what is logged while `happen` runs, without the times.
fn logged(format: Format, happen: impl FnOnce()) -> String {
    let (writer, log, reader) = log(format);
    with_default(log, happen);
    drop(writer);
    let lines = text(reader);
    let untimed = lines.lines().map(|line| line.split_once([' ', ',']).expect("a time").1.to_owned() + "\n");
    untimed.collect()
}

fn text(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// Returns the sum of a field over all lines.
fn sum(lines: &str, field: &str) -> u64 {
    let numbers = lines.lines().filter_map(|line| line.split_once(field)?.1.split(' ').next());
    numbers.map(|number| number.parse::<u64>().unwrap()).sum()
}

/// Returns a line with one field.
fn line(format: Format, value: &str) -> String {
    let mut line = LogLine::begin(format, Level::INFO);
    line.text("error", format_args!("{value}"));
    line.finish()
}

fn happen() {
    let error = io::Error::other("no");
    tracing::info!(peer = %"127.0.0.1:7", lines = 3, took = ?Duration::from_secs(1), "Client \"left\".");
    tracing::debug!(%error, is_first = true, name = "Bob", below = -1);
    tracing::trace!("That is too much.");
}

#[test]
fn text_has_time_level_message_and_fields() {
    let expected =
        " INFO Client \"left\". peer=127.0.0.1:7 lines=3 took=1s\nDEBUG error=no is_first=true name=\"Bob\" below=-1\n";
    assert_eq!(logged(Format::Text, happen), expected);
}

#[test]
fn colours_are_for_terminals() {
    let expected = "\x1b[32m INFO\x1b[0m Hi. \x1b[3mlines\x1b[0m\x1b[2m=\x1b[0m3\n";
    assert_eq!(logged(Format::ColouredText, || tracing::info!(lines = 3, "Hi.")), expected);
}

#[test]
fn json_is_for_programs() {
    let expected = r#""level":"INFO","message":"Client \"left\".","peer":"127.0.0.1:7","lines":3,"took":"1s"}
"level":"DEBUG","error":"no","is_first":true,"name":"Bob","below":-1}
"#;
    assert_eq!(logged(Format::Json, happen), expected);
}

#[test]
fn what_is_unprintable_is_escaped() {
    let value = "Böb \x1b[2J\u{202e}\r\n\u{9b}\u{e0041}\\ \"x\"";
    assert!(line(Format::Text, value).ends_with("error=Böb \\u{1b}[2J\\u{202e}\\r\\n\\u{9b}\\u{e0041}\\ \"x\"\n"));
    let json = r#""error":"Böb \u001b[2J\u202e\u000d\u000a\u009b\udb40\udc41\\ \"x\""}"#;
    assert!(line(Format::Json, value).ends_with(&format!("{json}\n")));
}

#[test]
fn no_character_passes_unprintable() {
    // This many fit even if each is escaped.
    for chars in (char::MIN..=char::MAX).collect::<Vec<_>>().chunks(30) {
        let value: String = chars.iter().collect();
        for format in [Format::Text, Format::Json] {
            let line = line(format, &value);
            let line = line.strip_suffix('\n').expect("a line ends");
            assert!(line.chars().all(|c| c.escape_debug().len() == 1 || "'\"\\".contains(c)), "{line:?}");
        }
        let parsed: Value = serde_json::from_str(&line(Format::Json, &value)).unwrap();
        assert_eq!(parsed["error"], value);
    }
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    for piece in ["a", "\"", "\u{1b}", "é", "🎉", "\u{e0041}"] {
        for count in 0..MAX_LINE_BYTES {
            let value = piece.repeat(count);
            let text = line(Format::Text, &value);
            let is_cut = text.ends_with("…\n");
            assert!(text.len() <= MAX_LINE_BYTES);
            assert!(
                is_cut
                    || text.ends_with(&format!(
                        "error={}\n",
                        value.replace('\u{1b}', "\\u{1b}").replace('\u{e0041}', "\\u{e0041}")
                    ))
            );
            assert!(!is_cut || text.len() > MAX_LINE_BYTES - 16, "{text}");

            let json = line(Format::Json, &value);
            assert!(json.len() <= MAX_LINE_BYTES);
            let parsed: Value = serde_json::from_str(&json).unwrap();
            let shown = parsed["error"].as_str().unwrap();
            assert!(value.starts_with(shown));
            assert_eq!(parsed["cut"] == true, shown != value);
        }
    }
}

#[test]
fn fields_after_the_cut_are_left_out() {
    let happen = || tracing::info!(long = %"x".repeat(1_000_000), lines = 3, peer = %"me", "Hi.");
    assert!(logged(Format::Text, happen).ends_with("xx…\n"));
    assert!(logged(Format::Json, happen).ends_with("xx\",\"cut\":true}\n"));
    // Wherever the space ends.
    for bytes in 400..MAX_LINE_BYTES {
        let line = format!(
            "{{{}",
            logged(Format::Json, || tracing::info!(long = %"x".repeat(bytes), lines = 3, peer = %"me", "Hi."))
        );
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

#[test]
fn what_is_shown_and_what_is_suppressed_is_all() {
    const EVENTS: u64 = 10_000;
    let (writer, log, reader) = log(Format::Text);
    let log = tracing::Dispatch::new(log);
    thread::scope(|scope| {
        for n in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&log, || {
                    (0..EVENTS / 4).for_each(|_| tracing::info!(n, "Too many."));
                    tracing::warn!("One.");
                });
            });
        }
    });
    drop((writer, log));
    let lines = text(reader);
    let shown = lines.lines().filter(|line| line.contains(" INFO Too many. n=")).count() as u64;
    assert!((100..EVENTS).contains(&shown), "{shown}");
    assert_eq!(shown + sum(&lines, " INFO Too many. suppressed="), EVENTS);
    assert_eq!(lines.matches(" WARN One.\n").count(), 4);
}

#[test]
fn the_number_of_suppressed_events_is_shown_without_another_event() {
    let (_writer, log, reader) = log(Format::Text);
    with_default(log, || (0..150).for_each(|_| tracing::info!("Too many.")));
    let (mut shown, mut suppressed) = (0, 0);
    let mut lines = io::BufRead::lines(io::BufReader::new(reader));
    while shown + suppressed < 150 {
        let line = lines.next().expect("the log goes on").unwrap();
        match sum(&line, "Too many. suppressed=") {
            0 => shown += 1,
            count => suppressed += count,
        }
    }
    assert_eq!(shown + suppressed, 150);
}

/// Sends this many lines, each with its number.
fn count(queue: &LogQueue, lines: u64) {
    (0..lines).for_each(|n| queue.send(format!("{n}\n"), 1));
}

fn wait_until_empty(queue: &LogQueue) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !queue.is_empty() {
        assert!(Instant::now() < deadline, "the queue is not emptied");
        thread::yield_now();
    }
}

#[test]
fn lines_lost_to_a_pipe_that_is_not_read_are_counted() {
    const LINES: u64 = 50_000;
    let (reader, mut output) = io::pipe().unwrap();
    output.write_all(&[b'\n'; 64 * 1024]).unwrap();
    let writer = Writer::start(&output, Format::Text, Arc::default()).unwrap();
    drop(output);
    let queue = writer.queue();
    count(&queue, LINES);
    let (first, last) = ("0", "last");
    let reader = thread::spawn(move || text(reader));
    // Once one has gone through, there is room for one that comes after those that were lost.
    wait_until_empty(&queue);
    queue.send(format!("{last}\n"), 1);
    drop(writer);
    let lines = reader.join().unwrap();
    let shown: Vec<&str> = lines.lines().filter(|line| !line.is_empty() && !line.contains("lost=")).collect();
    assert_eq!(shown.len() as u64 + sum(&lines, "lost="), LINES + 1);
    assert_eq!((shown[0], shown[shown.len() - 1]), (first, last));
    let notice = lines.find("Events are missing here").expect("there is a notice");
    assert!(lines.find("\n2000\n").expect("so many may wait") < notice, "what waited comes first");
    assert!(notice < lines.find(last).unwrap(), "and then what is missing");
}

#[test]
fn the_end_does_not_wait_for_a_pipe_that_is_not_read() {
    let (_reader, mut output) = io::pipe().unwrap();
    output.write_all(&[b'\n'; 64 * 1024]).unwrap();
    let writer = Writer::start(&output, Format::Text, Arc::default()).unwrap();
    count(&writer.queue(), 10_000);
    drop(writer);
}

#[test]
fn lines_lost_to_a_broken_pipe_are_reported_once_it_works_again() {
    let (reader, output) = io::pipe().unwrap();
    let writer = Writer::start(&output, Format::Text, Arc::default()).unwrap();
    drop(reader);
    let queue = writer.queue();
    count(&queue, 100);
    wait_until_empty(&queue);
    let reader = File::open(format!("/proc/self/fd/{}", output.as_raw_fd())).unwrap();
    queue.send("again\n".to_owned(), 1);
    drop((writer, output));
    let lines = text(reader);
    assert!(lines.contains("again\n"));
    // The last of the hundred may still be on its way when the pipe is whole again.
    assert!((99..=100).contains(&sum(&lines, "lost=")), "{lines}");
    assert_eq!(lines.lines().filter(|line| !line.contains("lost=")).count() as u64 + sum(&lines, "lost="), 101);
}

#[test]
fn a_full_non_blocking_pipe_is_waited_for() {
    let (reader, output) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&output, true).unwrap();
    let writer = Writer::start(&output, Format::Text, Arc::default()).unwrap();
    drop(output);
    let queue = writer.queue();
    let line = "x".repeat(100) + "\n";
    (0..2000).for_each(|_| queue.send(line.clone(), 1));
    let reader = thread::spawn(move || text(reader));
    wait_until_empty(&queue);
    drop(writer);
    assert_eq!(reader.join().unwrap(), line.repeat(2000));
}

#[test]
fn a_panic_is_an_event() {
    let lines = logged(Format::Text, || {
        let hook = panic::take_hook();
        report_panics(LevelFilter::DEBUG);
        catch_unwind(|| panic!("a client said \x1b[2J{}", '\u{202e}')).unwrap_err();
        panic::set_hook(hook);
    });
    let first = lines.lines().next().unwrap();
    assert!(first.starts_with("ERROR Panicked. thread="), "{first}");
    assert!(first.contains(" at=") && first.contains("log/tests.rs:"), "{first}");
    assert!(first.ends_with(r" error=a client said \u{1b}[2J\u{202e}"), "{first}");
}
