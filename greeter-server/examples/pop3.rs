//! A mailbox (RFC 1939): mail programs fetch the mails in a folder, as `smtp_sink` fills it.
//!
//! It shows replies of many lines with a dot behind them, what a session holds until `disconnect`,
//! and changes that are made at the end of a session or not at all. User and password are in the
//! code, and there is no encryption: it is for one's own machine.
//!
//! ```sh
//! # An address and a folder are optional: -- 127.0.0.1:1110 /tmp/mail
//! cargo run -p greeter-server --example pop3
//! curl --user ann:secret pop3://127.0.0.1:8080/1
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use greeter_server::{
    BoxError, CloseReason, LfInLineError, Line, LineEnding, Peer, Rejection, Reply, Responder, Server,
};

const USER: &str = "ann";
const PASSWORD: &str = "secret";

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let folder = std::env::args().nth(2).unwrap_or("mail".into()).into();
    let server = Server::builder()
        .responder(Mailbox { folder, is_in_use: AtomicBool::new(false) })
        .line_ending(LineEnding::CrLf)
        // The RFC's minimum: people read between two commands.
        .idle_timeout(Duration::from_secs(600))
        .bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Mailbox {
    folder: PathBuf,
    /// Only one client at a time may use the mailbox, so that the numbers of its mails hold.
    is_in_use: AtomicBool,
}

#[derive(Default)]
struct Session {
    user: String,
    /// The mails, once the client has given the password.
    mails: Option<Vec<Mail>>,
}

struct Mail {
    number: usize,
    path: PathBuf,
    /// How long it is when it is sent.
    bytes: usize,
    is_deleted: bool,
}

impl Responder for Mailbox {
    type Session = Session;

    fn connect(&self, _peer: &Peer, reply: &mut Reply<'_>) -> Result<Session, BoxError> {
        reply.line("+OK who are you?");
        Ok(Session::default())
    }

    fn respond(&self, session: &mut Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let text = line.to_str()?;
        let (command, argument) = text.split_once(' ').unwrap_or((text, ""));
        match (command.to_ascii_uppercase().as_str(), &mut session.mails) {
            ("CAPA", _) => ["+OK", "USER", "TOP", "UIDL", "PIPELINING", "."].iter().for_each(|&line| reply.line(line)),
            ("QUIT", mails) => {
                reply.close();
                let mut deleted = mails.iter().flatten().filter(|mail| mail.is_deleted);
                let outcome = deleted.try_for_each(|mail| fs::remove_file(&mail.path));
                self.leave(session);
                outcome?;
                reply.line("+OK bye");
            }
            ("USER", None) => {
                argument.clone_into(&mut session.user);
                reply.line("+OK and your password?");
            }
            ("PASS", None) => {
                if (session.user.as_str(), argument) != (USER, PASSWORD) {
                    // Who guesses has to connect for each guess.
                    reply.close();
                    return Err(Rejection::custom("wrong user or password").into());
                }
                if self.is_in_use.swap(true, Ordering::Acquire) {
                    return Err(Rejection::custom("[IN-USE] another client has the mailbox").into());
                }
                let mails = read_folder(&self.folder);
                session.mails = Some(mails.inspect_err(|_| self.is_in_use.store(false, Ordering::Release))?);
                reply.line("+OK");
            }
            (command, Some(mails)) => answer_reader(mails, command, argument, reply)?,
            _ => return Err(Rejection::custom("no such command, or not now").into()),
        }
        Ok(())
    }

    fn reject(&self, _session: Option<&mut Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            // The RFC wants silence here (section 3).
            Rejection::IdleTimeout { .. } => {}
            rejection => reply.line(format_args!("-ERR {rejection}")),
        }
    }

    /// A client that has not said QUIT has deleted nothing.
    fn disconnect(&self, mut session: Session, _reason: CloseReason) {
        self.leave(&mut session);
    }
}

impl Mailbox {
    fn leave(&self, session: &mut Session) {
        if session.mails.take().is_some() {
            self.is_in_use.store(false, Ordering::Release);
        }
    }
}

/// Answers a client that has given the password.
fn answer_reader(mails: &mut [Mail], command: &str, argument: &str, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    let (number, lines) = argument.split_once(' ').unwrap_or((argument, ""));
    match command {
        "NOOP" => reply.line("+OK"),
        "RSET" => {
            mails.iter_mut().for_each(|mail| mail.is_deleted = false);
            reply.line("+OK");
        }
        "STAT" => {
            let sizes = mails.iter().filter(|mail| !mail.is_deleted).map(|mail| mail.bytes);
            reply.line(format_args!("+OK {} {}", sizes.clone().count(), sizes.sum::<usize>()));
        }
        "LIST" | "UIDL" => {
            let entry = |mail: &Mail| match command {
                "LIST" => format!("{} {}", mail.number, mail.bytes),
                _ => format!("{} {}", mail.number, mail.path.file_stem().unwrap_or_default().display()),
            };
            if number.is_empty() {
                reply.line("+OK");
                mails.iter().filter(|mail| !mail.is_deleted).for_each(|mail| reply.line(entry(mail)));
                reply.line(".");
            } else {
                reply.line(format_args!("+OK {}", entry(find(mails, number)?)));
            }
        }
        "RETR" => send(&fs::read(&find(mails, number)?.path)?, usize::MAX, reply)?,
        "TOP" => {
            let lines = lines.parse().map_err(|_| Rejection::custom("how many lines?"))?;
            send(&fs::read(&find(mails, number)?.path)?, lines, reply)?;
        }
        "DELE" => {
            find(mails, number)?.is_deleted = true;
            reply.line("+OK");
        }
        _ => return Err(Rejection::custom("no such command, or not now").into()),
    }
    Ok(())
}

fn find<'a>(mails: &'a mut [Mail], number: &str) -> Result<&'a mut Mail, Rejection> {
    let number = number.parse().unwrap_or(0);
    let found = mails.iter_mut().find(|mail| mail.number == number && !mail.is_deleted);
    found.ok_or_else(|| Rejection::custom("no such mail"))
}

/// Sends the head of a mail and so many lines of what is behind it.
fn send(mail: &[u8], body_lines: usize, reply: &mut Reply<'_>) -> Result<(), LfInLineError> {
    let head = lines_of(mail).position(<[u8]>::is_empty).map_or(usize::MAX, |empty| empty + 1);
    reply.line("+OK");
    for text in lines_of(mail).take(head.saturating_add(body_lines)) {
        // A dot alone ends the reply, so every line that begins with one gets another.
        let dot = Line::literal(if text.starts_with(b".") { "." } else { "" });
        reply.line([dot, Line::new(text)?]);
    }
    reply.line(".");
    Ok(())
}

/// The lines of a mail, without their endings, whichever it has.
fn lines_of(mail: &[u8]) -> impl Iterator<Item = &[u8]> {
    mail.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

fn read_folder(folder: &Path) -> io::Result<Vec<Mail>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    paths.sort();
    let mail = |(path, number)| {
        let bytes = lines_of(&fs::read(&path)?).map(|line| line.len() + 2).sum();
        Ok(Mail { number, path, bytes, is_deleted: false })
    };
    paths.into_iter().zip(1..).map(mail).collect()
}
