//! Turns bytes into lines in the plainest way, and checks that a buffer does the same however they
//! are cut. A test and a fuzzer call it.

use crate::line::{LineBuffer, LineEnding};

/// Lines as a test compares them: the text, or `None` for a line that is too long, and the ending.
pub(crate) type Seen = Vec<(Option<Vec<u8>>, LineEnding)>;

/// Returns the lines that a buffer makes of `pieces`. Asserts that it never holds more than the
/// limit and two bytes.
pub(crate) fn lines_of<'a>(max_line_bytes: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut buffer = LineBuffer::new(max_line_bytes);
    let mut seen = Vec::new();
    for piece in pieces {
        let before = buffer.lines();
        assert_eq!(buffer.push(piece), buffer.lines() - before);
        // Some lines in each run, as a budget cuts them.
        while buffer.lines() > 0 {
            let before = buffer.lines();
            let run = buffer.run().take(seen.len() % 5 + 1);
            seen.extend(run.map(|line| (line.text.ok().map(|text| text.as_bytes().to_vec()), line.ending)));
            assert!(buffer.lines() < before);
        }
        assert!(buffer.run().next().is_none());
        buffer.release_taken();
        assert!(buffer.bytes_held() <= max_line_bytes as usize + 2);
    }
    seen
}

/// Returns the lines by the rules of the protocol, applied naively.
pub(crate) fn model(max_line_bytes: u32, bytes: &[u8]) -> Seen {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    lines.pop();
    let lines = lines.into_iter().map(|line| match line.strip_suffix(b"\r") {
        Some(text) => (text, LineEnding::CrLf),
        None => (line, LineEnding::Lf),
    });
    lines.map(|(text, ending)| ((text.len() <= max_line_bytes as usize).then(|| text.to_vec()), ending)).collect()
}

/// Asserts that a buffer does what the model does. The first byte is the line limit; the next two
/// are the lengths, in turn, of the pieces in which the rest arrives.
#[track_caller]
pub(crate) fn holds(input: &[u8]) {
    let [max, one, other, input @ ..] = input else { return };
    let max = u32::from(*max);
    let mut rest = input;
    let pieces = [one, other].into_iter().cycle().map_while(|&length| {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(length) + 1));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(lines_of(max, pieces), model(max, input), "at most {max} bytes");
}
