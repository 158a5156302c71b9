//! What holds for the lines of any bytes, however they are cut: a test and a fuzzer ask for it.

use crate::net::framing::{Eol, LineOverflow, ReplyBuffer};

/// All lines, and then what is left, or that a line was too long.
pub(crate) type Fed = (Vec<Vec<u8>>, Result<Vec<u8>, LineOverflow>);

/// What a buffer makes of `pieces`.
pub(crate) fn feed<'a>(eol: Eol, max: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Fed {
    let mut buffer = ReplyBuffer::new(eol, max);
    let mut lines = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let space = buffer.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            buffer.filled(count);
            piece = &piece[count..];
            loop {
                match buffer.take_line() {
                    Ok(Some(line)) => lines.push(buffer.line(line).to_vec()),
                    Ok(None) => break,
                    Err(LineOverflow) => return (lines, Err(LineOverflow)),
                }
            }
        }
    }
    (lines, Ok(buffer.unread().to_vec()))
}

/// The same, said naively.
fn split(eol: Eol, max: usize, input: &[u8]) -> Fed {
    let text = |line: &[u8]| match (eol, line.strip_suffix(b"\r")) {
        (Eol::CrLf, Some(text)) => text.to_vec(),
        _ => line.to_vec(),
    };
    let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let short = lines.iter().take_while(|line| text(line).len() <= max);
    let taken: Vec<Vec<u8>> = short.map(|line| text(line)).collect();
    let is_too_long = taken.len() < lines.len() || text(rest).len() > max;
    (taken, if is_too_long { Err(LineOverflow) } else { Ok(rest.to_vec()) })
}

/// The buffer does what the naive split does. The first byte says how lines end and how long they
/// may be, the next two in pieces of which lengths, in turn, the rest comes.
#[track_caller]
pub(crate) fn holds(input: &[u8]) {
    let [how, one, other, input @ ..] = input else { return };
    let eol = if how & 1 == 0 { Eol::Lf } else { Eol::CrLf };
    let max = usize::from(how >> 1);
    let mut rest = input;
    let pieces = [one, other].into_iter().cycle().map_while(|&length| {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(length) + 1));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(feed(eol, max, pieces), split(eol, max, input), "{eol:?}, at most {max} bytes");
}
