//! What `curl -v` prints: `> …` is sent, `< …` comes, and `* …` is curl's own. Of bodies it shows
//! nothing, or prints them among it as they are.

use super::draft::{DraftWriter, TextLine};

/// What is said of a body, which is not shown.
const BODY: &str = "here is a body, which curl does not show";

fn is_http(line: &TextLine<'_>) -> bool {
    let is_request = |text: &[u8]| text.windows(6).any(|part| part == b" HTTP/");
    line.behind("<").is_some_and(|text| text.starts_with(b"HTTP/")) || line.behind(">").is_some_and(is_request)
}

pub(super) fn count(lines: &[TextLine<'_>]) -> usize {
    let is_curls = lines.iter().any(|line| line.behind("*").is_some() || is_http(line));
    let is_said = |line: &&TextLine<'_>| line.behind(">").is_some() || line.behind("<").is_some();
    if is_curls { lines.iter().filter(is_said).count() } else { 0 }
}

/// What the lines of a head say of the body behind it.
#[derive(Default)]
struct Head {
    has_body: bool,
}

impl Head {
    fn take(&mut self, text: &[u8], is_request: bool, to_head: bool) {
        let text = text.to_ascii_lowercase();
        let value = |name: &[u8]| Some(text.strip_prefix(name)?.trim_ascii().to_owned());
        if !is_request && text.starts_with(b"http/") {
            let status = text.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
            let is_without = status.starts_with(b"1") || status == b"204" || status == b"304" || to_head;
            *self = Self { has_body: !is_without };
        } else if is_request && text.windows(6).any(|part| part == b" http/") {
            *self = Self::default();
        } else if let Some(length) = value(b"content-length:") {
            self.has_body = length.iter().any(|&byte| byte != b'0') && (self.has_body || is_request);
        } else if value(b"transfer-encoding:").is_some() {
            self.has_body |= is_request;
        }
    }
}

pub(super) fn convert(lines: &[TextLine<'_>], draft: &mut DraftWriter) {
    draft.ends_lines_with_crlf();
    let (mut request, mut response) = (Head::default(), Head::default());
    let mut is_to_head = false;
    let mut is_mail = false;
    let mut has_told_http2 = false;
    for line in lines {
        let (text, is_request) = match (line.behind(">"), line.behind("<"), line.behind("*")) {
            (Some(text), ..) => (text, true),
            (_, Some(text), _) => (text, false),
            (_, _, Some(text)) => {
                draft.comment(text);
                continue;
            }
            _ if line.is_blank() => {
                draft.blank();
                continue;
            }
            _ => {
                draft.not_said(*line, "the line does not say who speaks: it may be a body, or curl's progress");
                continue;
            }
        };
        if !has_told_http2 && is_http2(text, is_request) {
            has_told_http2 = true;
            draft.missing(line.number, "HTTP/2 is not said in lines: curl only shows it so");
        }
        if is_request {
            draft.send(text);
            is_to_head = if is_http(line) { text.starts_with(b"HEAD ") } else { is_to_head };
            is_mail = text == b"DATA";
        } else {
            draft.expect(text);
            if is_mail && text.starts_with(b"354") {
                draft.missing(line.number, BODY);
            }
        }
        let head = if is_request { &mut request } else { &mut response };
        head.take(text, is_request, is_to_head);
        if text.is_empty() && std::mem::take(head).has_body {
            draft.missing(line.number, BODY);
        }
    }
}

fn is_http2(text: &[u8], is_request: bool) -> bool {
    ["HTTP/2", "HTTP/3"].iter().any(|version| match is_request {
        true => text.ends_with(format!(" {version}").as_bytes()),
        false => text.starts_with(format!("{version} ").as_bytes()),
    })
}
