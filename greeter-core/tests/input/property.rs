//! Turns bytes into lines in the plainest way, and checks that a buffer does the same however they
//! are cut. A test and a fuzzer call it.

use crate::input::InputBuffer;
use crate::line::{BareLf, LineEnding, LineRules, Unseen, WhenTooLong};

/// Lines as a test compares them: the text, or why the responder does not see it, and the ending.
pub(crate) type Seen = Vec<(Result<Vec<u8>, Unseen>, LineEnding)>;

/// Returns the lines that a buffer makes of `pieces`. Asserts that it never holds more than the
/// limit and two bytes.
pub(crate) fn lines_of<'a>(rules: LineRules, max_line_bytes: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut buffer = InputBuffer::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let had_begun = buffer.is_unfinished();
        let starts_anew = buffer.push(piece, max_line_bytes, false);
        assert_eq!(starts_anew, buffer.lines() > 0 || !had_begun && !piece.is_empty());
        // Some lines in each run, as a budget cuts them.
        while buffer.lines() > 0 {
            let before = buffer.lines();
            let first = buffer.first_ending();
            let run = buffer.run(max_line_bytes, rules).take(seen.len() % 5 + 1);
            let from = seen.len();
            seen.extend(run.map(|line| {
                let text = line.text.inspect(|text| assert_eq!(text.ending(), Some(line.ending)));
                (text.map(|text| text.as_bytes().to_vec()), line.ending)
            }));
            assert_eq!(first, seen.get(from).map(|(_, ending)| *ending));
            assert!(buffer.lines() < before);
        }
        assert!(buffer.run(max_line_bytes, rules).next().is_none());
        buffer.release_taken(max_line_bytes);
        assert!(buffer.bytes_held() <= max_line_bytes as usize + 2);
    }
    seen
}

/// Returns the lines by the rules of the protocol, applied naively.
pub(crate) fn model(rules: LineRules, max_line_bytes: u32, bytes: &[u8]) -> Seen {
    let max = max_line_bytes as usize;
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    lines.pop();
    let lines = lines.into_iter().map(|line| match line.strip_suffix(b"\r") {
        Some(text) => (text, LineEnding::CrLf),
        None => (line, LineEnding::Lf),
    });
    let seen = |text: &[u8], ending| match (ending, rules.bare_lf, rules.when_too_long) {
        (LineEnding::Lf, BareLf::Reject, _) => Err(Unseen::BareLf),
        (_, _, WhenTooLong::Reject) if text.len() > max => Err(Unseen::TooLong),
        _ => Ok(text[..text.len().min(max)].to_vec()),
    };
    lines.map(|(text, ending)| (seen(text, ending), ending)).collect()
}

/// Returns one of the four sets of rules that a buffer can have.
pub(crate) fn rules(number: u8) -> LineRules {
    let bare_lf = if number & 1 == 0 { BareLf::Accept } else { BareLf::Reject };
    let when_too_long = if number & 2 == 0 { WhenTooLong::Reject } else { WhenTooLong::Truncate };
    LineRules { when_too_long, bare_lf }
}

/// Asserts that a buffer does what the model does. The first two bytes are the rules and the line
/// limit; the next two are the lengths, in turn, of the pieces in which the rest arrives.
#[track_caller]
pub(crate) fn holds(input: &[u8]) {
    let [number, max, one, other, input @ ..] = input else { return };
    let (rules, max) = (rules(*number), u32::from(*max));
    let mut rest = input;
    let pieces = [one, other].into_iter().cycle().map_while(|&length| {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(length) + 1));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(lines_of(rules, max, pieces), model(rules, max, input), "at most {max} bytes, {rules:?}");
}
