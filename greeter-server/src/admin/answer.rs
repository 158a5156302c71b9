//! Turns an answer into the bytes of one HTTP response. Must not know what was asked.

use std::fmt::Write;

use greeter_core::Reply;

/// The status of a response (RFC 9110, 15), and what is said to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    code: u16,
    reason: &'static str,
    words: &'static str,
}

impl Status {
    pub(super) const OK: Self = Self { code: 200, reason: "OK", words: "ok" };
    pub(super) const BAD_REQUEST: Self =
        Self { code: 400, reason: "Bad Request", words: "this is no HTTP/1 request without a body" };
    pub(super) const NOT_FOUND: Self =
        Self { code: 404, reason: "Not Found", words: "there are /, /connections, /livez, /metrics and /readyz" };
    pub(super) const METHOD_NOT_ALLOWED: Self =
        Self { code: 405, reason: "Method Not Allowed", words: "use GET or HEAD" };
    pub(super) const REQUEST_TIMEOUT: Self =
        Self { code: 408, reason: "Request Timeout", words: "the request took too long" };
    pub(super) const URI_TOO_LONG: Self =
        Self { code: 414, reason: "URI Too Long", words: "the first line is too long" };
    pub(super) const MISDIRECTED: Self = Self {
        code: 421,
        reason: "Misdirected Request",
        words: "on this machine, ask by a number or as localhost: another name could be anybody's",
    };
    pub(super) const FIELDS_TOO_LARGE: Self =
        Self { code: 431, reason: "Request Header Fields Too Large", words: "the header is too long" };
    pub(super) const INTERNAL_ERROR: Self =
        Self { code: 500, reason: "Internal Server Error", words: "internal error" };
    pub(super) const UNAVAILABLE: Self =
        Self { code: 503, reason: "Service Unavailable", words: "busy, try again later" };
    pub(super) const VERSION_NOT_SUPPORTED: Self =
        Self { code: 505, reason: "HTTP Version Not Supported", words: "use HTTP/1.1 or HTTP/1.0" };
}

impl Status {
    /// What is said to people: a sentence, and no more of it.
    pub(super) const fn in_words(self) -> &'static str {
        self.words
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer<B> {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: B,
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// A page asks its own server, and nobody else.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl<B: AsRef<str>> Answer<B> {
    /// Writes the response, with its body or without; nothing comes behind it.
    pub(super) fn write(&self, has_body: bool, reply: &mut Reply<'_>) {
        let Self { status, content_type, body } = self;
        let body = body.as_ref();
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            status.code,
            status.reason,
            body.len()
        );
        if *status == Status::METHOD_NOT_ALLOWED {
            head.push_str("Allow: GET, HEAD, OPTIONS\r\n");
        }
        if *content_type == HTML {
            let _ = write!(head, "Content-Security-Policy: {}\r\n", PAGE_POLICY);
        }
        head.push_str("\r\n");
        reply.raw(head);
        if has_body {
            reply.raw(body);
        }
        reply.close();
    }
}

/// Answers with no more than a status, in words.
pub(super) fn write_status(status: Status, has_body: bool, reply: &mut Reply<'_>) {
    let body = format!("{}\n", status.in_words());
    Answer { status, content_type: TEXT, body }.write(has_body, reply);
}
