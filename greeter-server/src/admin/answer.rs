//! Turns an answer into the bytes of one HTTP response.

use std::borrow::Cow;
use std::fmt::Write;

use greeter_core::Reply;

use super::request::Method;
use super::status::Status;

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A page asks its own server, and nobody else.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Answer {
    /// What was asked for.
    pub(super) fn ok(content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::OK, content_type, body: body.into() }
    }

    /// No more than a status, in words.
    pub(super) fn of(status: Status) -> Self {
        Self { status, content_type: TEXT, body: format!("{}\n", status.words).into() }
    }

    /// Writes the response to what was asked with this method; nothing comes behind it. OPTIONS has
    /// the status that GET would have: HAProxy asks with it, unless it is told otherwise.
    pub(super) fn write(&self, method: Method, reply: &mut Reply<'_>) {
        let Self { status, content_type, body } = self;
        let length = if method == Method::Options { 0 } else { body.len() };
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            status.code, status.reason
        );
        if *status == Status::METHOD_NOT_ALLOWED || method == Method::Options {
            head.push_str("Allow: GET, HEAD, OPTIONS\r\n");
        }
        if *content_type == HTML {
            let _ = write!(head, "Content-Security-Policy: {PAGE_POLICY}\r\n");
        }
        head.push_str("\r\n");
        reply.raw(head);
        if method == Method::Get {
            reply.raw(body.as_ref());
        }
        reply.close();
    }
}
