//! What swaks prints: three characters say who speaks, and whether in TLS.

use super::draft::{DraftWriter, TextLine};

/// Who says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
    Swaks,
}

/// What stands before a line, whose it is, and whether it is said in TLS. With stars, it is one
/// that swaks did not expect.
const PREFIXES: [(&str, Speaker, bool); 10] = [
    (" ->", Speaker::Client, false),
    ("**>", Speaker::Client, false),
    (" ~>", Speaker::Client, true),
    ("*~>", Speaker::Client, true),
    ("<-", Speaker::Server, false),
    ("<**", Speaker::Server, false),
    ("<~", Speaker::Server, true),
    ("<~*", Speaker::Server, true),
    ("===", Speaker::Swaks, false),
    ("***", Speaker::Swaks, false),
];

fn said<'a>(line: &TextLine<'a>) -> Option<(Speaker, bool, &'a [u8])> {
    PREFIXES.iter().find_map(|&(prefix, speaker, is_tls)| {
        let said = line.behind(prefix)?;
        // All have three characters, of which one may be a blank.
        let said = if prefix.len() == 2 { said.strip_prefix(b" ").unwrap_or(said) } else { said };
        Some((speaker, is_tls, said))
    })
}

pub(super) fn count(lines: &[TextLine<'_>]) -> usize {
    lines.iter().filter(|line| said(line).is_some_and(|(speaker, ..)| speaker != Speaker::Swaks)).count()
}

pub(super) fn convert(lines: &[TextLine<'_>], draft: &mut DraftWriter) {
    draft.ends_lines_with_crlf();
    let (mut has_begun, mut in_tls) = (false, false);
    for line in lines {
        let Some((speaker, is_tls, text)) = said(line) else {
            if line.is_blank() {
                draft.blank();
            } else {
                draft.not_said(*line, "the line does not say who speaks");
            }
            continue;
        };
        if speaker == Speaker::Swaks {
            draft.comment(text);
            continue;
        }
        if is_tls && !in_tls {
            draft.step(if has_begun { "starttls" } else { "connect tls" });
        } else if in_tls && !is_tls {
            draft.kept(line.number, "it is said in plain, behind something that was said in TLS");
        }
        has_begun = true;
        in_tls |= is_tls;
        match speaker {
            Speaker::Client => draft.send(text),
            _ => draft.expect(text),
        }
    }
}
