//! A chat room: each client gives a name, and from then on every client receives what any of them
//! sends.
//!
//! It shows state that all clients share, and lines that are pushed to clients that have not asked.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example chat
//! # And again in other terminals; /quit leaves.
//! telnet 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use greeter_server::{BoxError, ClientId, CloseReason, Line, Peer, PushHandle, Rejection, Reply, Responder, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder_with(|push| Room { push, names: Mutex::default() }).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Room {
    push: PushHandle,
    /// The names of the clients in the room. The lock is held while lines are pushed, so that all
    /// clients receive the same lines in the same order.
    names: Mutex<BTreeMap<ClientId, String>>,
}

/// A client, and its name once it has given one.
struct Member {
    id: ClientId,
    name: Option<String>,
}

impl Responder for Room {
    type Session = Member;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Member, BoxError> {
        reply.line("what is your name?");
        Ok(Member { id: peer.id, name: None })
    }

    fn respond(&self, member: &mut Member, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let text = line.to_str()?;
        match &member.name {
            _ if text == "/quit" => reply.close(),
            Some(name) => self.tell_others(&self.names(), member.id, &format!("{name}: {text}"))?,
            None => {
                let mut names = self.names();
                if text.is_empty() || text.contains(char::is_control) || names.values().any(|name| name == text) {
                    return Err(Rejection::custom("that name is taken, or is none").into());
                }
                let others: Vec<_> = names.values().map(String::as_str).collect();
                reply.line(format_args!("welcome, {text}; here are: {}", others.join(", ")));
                self.tell_others(&names, member.id, &format!("* {text} is here"))?;
                names.insert(member.id, text.to_owned());
                member.name = Some(text.to_owned());
            }
        }
        Ok(())
    }

    fn disconnect(&self, member: Member, _reason: CloseReason) {
        let Some(name) = member.name else { return };
        let mut names = self.names();
        names.remove(&member.id);
        // If too much is being pushed already, the others are not told. They notice when they get
        // no answer.
        let _ = self.tell_others(&names, member.id, &format!("* {name} has left"));
    }
}

impl Room {
    fn tell_others(&self, names: &BTreeMap<ClientId, String>, sender: ClientId, text: &str) -> Result<(), BoxError> {
        for &receiver in names.keys().filter(|&&receiver| receiver != sender) {
            self.push.line(receiver, text)?;
        }
        Ok(())
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<ClientId, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
