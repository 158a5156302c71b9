//! Turns lines into one HTTP request (RFC 9112), or into what is wrong with it. Must not answer it.

use std::net::IpAddr;

use super::status::Status;

/// The longest request line, in bytes.
const MAX_REQUEST_LINE: usize = 4096;

/// How many fields a request may have.
const MAX_FIELDS: usize = 64;

/// What is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Options,
}

/// A request, as far as it has come.
#[derive(Debug)]
pub(super) struct Request {
    /// The target's path, without the query behind it.
    pub(super) path: String,
    needs_host: bool,
    /// What a target in absolute form says in front of its path, in the place of `Host` (RFC 9112,
    /// 3.2.2).
    target_host: Option<String>,
    host: Option<String>,
    fields: usize,
}

impl Method {
    /// Returns what a first line asks with, whatever else is wrong with it.
    pub(super) fn of_line(line: &[u8]) -> Self {
        match line {
            line if line.starts_with(b"HEAD ") => Self::Head,
            line if line.starts_with(b"OPTIONS ") => Self::Options,
            _ => Self::Get,
        }
    }
}

impl Request {
    /// Takes the first line.
    pub(super) fn begin(line: &[u8]) -> Result<Self, Status> {
        if line.len() > MAX_REQUEST_LINE {
            return Err(Status::URI_TOO_LONG);
        }
        let line = std::str::from_utf8(line).map_err(|_| Status::BAD_REQUEST)?;
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Status::BAD_REQUEST);
        };
        let needs_host = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            version if version.starts_with("HTTP/") => return Err(Status::VERSION_NOT_SUPPORTED),
            _ => return Err(Status::BAD_REQUEST),
        };
        match method {
            "GET" | "HEAD" | "OPTIONS" => {}
            method if is_token(method.as_bytes()) => return Err(Status::METHOD_NOT_ALLOWED),
            _ => return Err(Status::BAD_REQUEST),
        }
        let (target_host, path) = match target.split_at_checked("http://".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
                let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some(host.to_owned()), path)
            }
            _ => (None, target),
        };
        let path = match path.split_once('?').map_or(path, |(path, _)| path) {
            "" if target_host.is_some() => "/",
            "*" if method == "OPTIONS" => "/",
            path if path.starts_with('/') => path,
            _ => return Err(Status::BAD_REQUEST),
        };
        Ok(Self { path: path.to_owned(), needs_host, target_host, host: None, fields: 0 })
    }

    /// Takes a field.
    pub(super) fn field(&mut self, line: &[u8]) -> Result<(), Status> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Status::FIELDS_TOO_LARGE);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Status::BAD_REQUEST)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Neither blanks in front of the colon nor a line that continues the one before it
        // (RFC 9112, 5.1 and 5.2).
        if !is_token(name) || value.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
            return Err(Status::BAD_REQUEST);
        }
        if name.eq_ignore_ascii_case(b"host") {
            let host = std::str::from_utf8(value).map_err(|_| Status::BAD_REQUEST)?;
            if self.host.replace(host.to_owned()).is_some() {
                return Err(Status::BAD_REQUEST);
            }
        }
        let has_body = name.eq_ignore_ascii_case(b"transfer-encoding")
            || name.eq_ignore_ascii_case(b"content-length") && value != b"0";
        if has_body { Err(Status::BAD_REQUEST) } else { Ok(()) }
    }

    /// Takes the empty line at the end. Whoever asks over this machine's own loopback must have
    /// called it by a number or as localhost: a web page from elsewhere, whose name its owner has
    /// pointed to 127.0.0.1, would read in its reader's browser what is none of its business.
    pub(super) fn end(&self, is_loopback: bool) -> Result<(), Status> {
        if self.needs_host && self.host.is_none() {
            return Err(Status::BAD_REQUEST);
        }
        match self.target_host.as_ref().or(self.host.as_ref()) {
            Some(host) if is_loopback && !is_own_name(host) => Err(Status::MISDIRECTED),
            _ => Ok(()),
        }
    }
}

/// Returns whether nobody elsewhere can have given this name: `localhost`, or a number, with a port
/// or without.
fn is_own_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(number, port)| {
            number.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    is_port(port) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether this is a token (RFC 9110, 5.6.2).
fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
