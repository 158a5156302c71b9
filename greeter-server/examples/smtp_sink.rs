//! A mail server that takes every mail and sends none (RFC 5321): for trying what sends mail.
//!
//! It stores each mail as a file in a folder, or only counts, if it is given none. It shows a
//! session that collects lines, and what such a session must do about a line that it did not see:
//! a mail of which a line is missing is refused as a whole.
//!
//! Given a certificate and its key, it offers STARTTLS (RFC 3207), and forgets what was said
//! before.
//!
//! ```sh
//! # All are optional: -- 127.0.0.1:2525 /tmp/mail chain.pem key.pem
//! cargo run -p greeter-server --example smtp_sink
//! swaks --server 127.0.0.1:8080 --to ann@example.org
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use greeter_server::{BareLf, BoxError, Line, LineEnding, Listener, Peer, Rejection, Reply, Responder, Server, Tls};

/// The longest line of RFC 5321: 1,000 bytes with its ending, and one dot that does not count.
const MAX_LINE_BYTES: usize = 999;
/// A session holds a mail until it ends, and no limit of the server counts that.
const MAX_MAIL_BYTES: usize = 1 << 20;
const MAX_CONNECTIONS: usize = 100;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let folder = std::env::args().nth(2).map(PathBuf::from);
    let mut listener = Listener::from(address);
    if let (Some(chain), Some(key)) = (std::env::args().nth(3), std::env::args().nth(4)) {
        listener = listener.tls_on_request(&Tls::from_files(chain, key)?);
    }
    let server = Server::builder()
        .responder(Sink { folder, taken: AtomicU64::new(0) })
        .line_ending(LineEnding::CrLf)
        .bare_lf(BareLf::Reject)
        .max_line_bytes(MAX_LINE_BYTES)
        .max_connections(MAX_CONNECTIONS)
        .bind(listener)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Sink {
    folder: Option<PathBuf>,
    taken: AtomicU64,
}

/// Which command a client may send next.
#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Sender,
    Recipient,
    RecipientOrData,
}

#[derive(Default)]
struct Session {
    stage: Stage,
    /// The mail that the client is sending.
    mail: Option<Mail>,
    can_start_tls: bool,
}

#[derive(Default)]
struct Mail {
    bytes: Vec<u8>,
    /// What the client is told at the end, if the mail cannot be stored.
    refusal: Option<&'static str>,
    /// Whether the line before this one ended with LF alone.
    follows_bare_lf: bool,
}

impl Responder for Sink {
    type Session = Session;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Session, BoxError> {
        reply.line("220 localhost takes every mail");
        Ok(Session { can_start_tls: peer.can_start_tls(), ..Session::default() })
    }

    fn tls_started(&self, session: &mut Session, _peer: &Peer) {
        // Whatever was said in plain may have been said by somebody else (RFC 3207, 4.2).
        *session = Session::default();
    }

    fn respond(&self, session: &mut Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let Some(mail) = &mut session.mail else {
            answer_command(session, line.to_str()?, reply);
            return Ok(());
        };
        // Only CR LF . CR LF ends a mail. If LF . CR LF did so here, but not at the relay that the
        // mail came through, what is text to the relay would be commands and mails here.
        if line.as_bytes() != b"." || mail.follows_bare_lf {
            mail.add(line);
        } else if let Some(mail) = session.mail.take() {
            reply.line(self.store(&mail)?);
        }
        Ok(())
    }

    fn reject(&self, session: Option<&mut Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        let mail = session.map(|session| session.mail.as_mut());
        match (mail, rejection) {
            // No answer yet: the client reads none before it has sent all of the mail.
            (Some(Some(mail)), Rejection::BareLf) => mail.refuse("550 a line did not end with CR LF", true),
            (Some(Some(mail)), Rejection::LineTooLong { .. }) => mail.refuse("550 a line was too long", false),
            (Some(None), rejection @ (Rejection::Busy | Rejection::InternalError)) => {
                reply.line(format_args!("451 {rejection}"));
            }
            (Some(None), rejection) => reply.line(format_args!("500 {rejection}")),
            // Either what was not seen may have been the end of the mail, or this is the client's.
            (_, rejection) => {
                reply.line(format_args!("421 {rejection}"));
                reply.close();
            }
        }
    }
}

fn answer_command(session: &mut Session, command: &str, reply: &mut Reply<'_>) {
    use Stage::{Recipient, RecipientOrData, Sender};

    let command = command.to_ascii_uppercase();
    let verb = command.split(' ').next().unwrap_or_default();
    // What the parameters behind an address announce makes no difference here.
    let has_address = |prefix| {
        let rest = command.strip_prefix(prefix).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with('<') && rest.contains('>'))
    };
    let (stage, answer) = match (verb, session.stage) {
        ("EHLO", _) => {
            reply.line("250-localhost");
            reply.line(format_args!("250-SIZE {MAX_MAIL_BYTES}"));
            reply.line("250-8BITMIME");
            if session.can_start_tls {
                reply.line("250-STARTTLS");
            }
            (Sender, "250 PIPELINING")
        }
        ("HELO" | "RSET", _) => (Sender, "250 ok"),
        ("MAIL", Sender) if has_address("MAIL FROM:") => (Recipient, "250 ok"),
        ("RCPT", Recipient | RecipientOrData) if has_address("RCPT TO:") => (RecipientOrData, "250 ok"),
        ("DATA", RecipientOrData) => {
            session.mail = Some(Mail::default());
            (Sender, "354 end with a dot in a line of its own")
        }
        ("MAIL" | "RCPT" | "DATA", stage) => (stage, "503 not now, or not without an <address>"),
        ("STARTTLS", stage) if session.can_start_tls => {
            reply.start_tls();
            (stage, "220 go ahead")
        }
        ("NOOP", stage) => (stage, "250 ok"),
        ("VRFY", stage) => (stage, "252 every mail is taken"),
        ("QUIT", stage) => {
            reply.close();
            (stage, "221 bye")
        }
        (_, stage) => (stage, "500 unknown command"),
    };
    session.stage = stage;
    reply.line(answer);
}

impl Mail {
    fn add(&mut self, line: Line<'_>) {
        self.follows_bare_lf = false;
        // Of a line that begins with a dot, the client has sent one dot more.
        let text = line.as_bytes().strip_prefix(b".").unwrap_or(line.as_bytes());
        if self.bytes.len() + text.len() + 2 > MAX_MAIL_BYTES {
            self.refuse("552 too much mail", false);
        } else {
            self.bytes.extend_from_slice(text);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Refuses all of the mail because of this line.
    fn refuse(&mut self, words: &'static str, is_bare_lf: bool) {
        self.refusal.get_or_insert(words);
        self.follows_bare_lf = is_bare_lf;
    }
}

impl Sink {
    /// Stores a mail and returns what the client is told. A file is renamed once it is complete, so
    /// nobody ever finds half a mail.
    fn store(&self, mail: &Mail) -> io::Result<String> {
        if let Some(refusal) = mail.refusal {
            return Ok(refusal.to_owned());
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(folder) = &self.folder else { return Ok(format!("250 mail {number} counted")) };
        let seconds = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let path = folder.join(format!("{seconds}-{}-{number:06}.draft", std::process::id()));
        let mut file = File::create_new(&path)?;
        file.write_all(&mail.bytes)?;
        file.sync_all()?;
        fs::rename(&path, path.with_extension("eml"))?;
        Ok(format!("250 mail {number} stored"))
    }
}
