//! A transcript of an RFC: `C: …` is said by the client, `S: …` by the server. What stands between
//! them is prose, and what follows one of them without saying who speaks is the rest of a line that
//! was too long for the page.

use super::draft::{DraftWriter, TextLine};

/// A letter, and all that stands behind its colon.
fn said<'a>(line: &TextLine<'a>) -> Option<(u8, &'a [u8])> {
    match line.text.trim_ascii_start() {
        [letter @ (b'C' | b'S' | b'R'), b':'] => Some((*letter, &[])),
        [letter @ (b'C' | b'S' | b'R'), b':', rest @ ..] if rest[0] == b' ' => Some((*letter, rest)),
        _ => None,
    }
}

/// The same, if one of these two says it.
fn said_by<'a>(line: &TextLine<'a>, client: u8, server: u8) -> Option<(u8, &'a [u8])> {
    said(line).filter(|(letter, _)| [client, server].contains(letter))
}

/// The client's letter and the server's. The oldest RFCs have a sender and a receiver.
fn letters(lines: &[TextLine<'_>]) -> (u8, u8) {
    let has = |letter| lines.iter().any(|line| said(line).is_some_and(|(said, _)| said == letter));
    if has(b'R') && !has(b'C') { (b'S', b'R') } else { (b'C', b'S') }
}

pub(super) fn count(lines: &[TextLine<'_>]) -> usize {
    let (client, server) = letters(lines);
    lines.iter().filter(|line| said_by(line, client, server).is_some()).count()
}

pub(super) fn convert(lines: &[TextLine<'_>], draft: &mut DraftWriter) {
    let (client, server) = letters(lines);
    // As many blanks as every line has there are the page's, and the others the line's own.
    let blanks = |text: &[u8]| text.iter().take_while(|&&byte| byte == b' ').count();
    let texts = lines
        .iter()
        .filter_map(|line| said_by(line, client, server))
        .map(|(_, text)| text)
        .filter(|text| !text.trim_ascii().is_empty());
    let margin = texts.map(blanks).min().unwrap_or(1);
    draft.ends_lines_with_crlf();
    let mut is_behind_one = false;
    for line in lines {
        match said_by(line, client, server) {
            Some((letter, text)) => {
                let text = text.get(margin..).unwrap_or_default();
                name_what_may_stand_for_something(line.number, text, draft);
                if letter == client {
                    draft.send(text)
                } else {
                    draft.expect(text)
                }
                is_behind_one = true;
            }
            None if line.is_blank() => {
                draft.blank();
                is_behind_one = false;
            }
            None if is_behind_one => {
                draft.not_said(*line, "the rest of a line that was folded, or a line that does not say who speaks");
            }
            None => draft.comment(line.text.trim_ascii_start()),
        }
    }
}

/// What is written like this in transcripts is often not what is said.
fn name_what_may_stand_for_something(number: usize, text: &[u8], draft: &mut DraftWriter) {
    let text = String::from_utf8_lossy(text);
    if text.contains("...") {
        draft.kept(number, "... may stand for what was left out");
    }
    if let Some(words) = in_angle_brackets(&text) {
        draft.kept(number, &format!("<{words}> may stand for something else"));
    }
    if let Some(count) = count_of_octets(&text) {
        draft.kept(number, &format!("{count} depends on what is sent"));
    }
}

/// What stands in angle brackets, unless it has an at sign, as addresses have.
fn in_angle_brackets(text: &str) -> Option<&str> {
    let mut parts = text.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(words, _)| words);
    parts.find(|words| !words.is_empty() && !words.contains('@'))
}

/// A count of octets: `{310}` at the end, as IMAP has it, or in words.
fn count_of_octets(text: &str) -> Option<&str> {
    let is_count = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((before, count)) = text.strip_suffix('}').and_then(|text| text.rsplit_once('{'))
        && is_count(count.strip_suffix('+').unwrap_or(count))
    {
        return Some(&text[before.len()..]);
    }
    ["octets", "octet", "bytes", "byte"].iter().find_map(|unit| {
        let before = text[..text.find(unit)?].trim_end_matches(['(', ' ']);
        let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + c_len(before, at));
        is_count(&before[start..]).then(|| &text[start..text.find(unit).map_or(text.len(), |at| at + unit.len())])
    })
}

/// How long the character at this place is.
fn c_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}
