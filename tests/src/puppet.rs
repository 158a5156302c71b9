//! A responder that does as the client says, the bad things too.

use std::sync::Mutex;
use std::time::Duration;

use greeter_server::{Failure, Line, Peer, Reply, Responder};

/// Obeys the first word of a line: `echo X`, `sleep MS X`, `panic`, `panic-locked`, `big N`, `nl`, `err`, `quit`.
#[derive(Debug, Default)]
pub struct Puppet {
    lock: Mutex<()>,
}

impl Responder for Puppet {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        let (word, rest) = line.to_str()?.split_once(' ').unwrap_or((line.to_str()?, ""));
        match word {
            "echo" => reply.line(rest),
            "sleep" => {
                let (duration, rest) = rest.split_once(' ').ok_or("sleep MS X")?;
                std::thread::sleep(Duration::from_millis(duration.parse()?));
                reply.line(rest);
            }
            "panic" => panic!("as told"),
            "panic-locked" => {
                let _guard = self.lock.lock();
                panic!("as told, with a lock held")
            }
            "big" => reply.line(vec![b'x'; rest.parse()?]),
            "nl" => reply.line("two\nlines"),
            "quit" => {
                reply.line("bye");
                reply.close();
            }
            _ => return Err("as told".into()),
        }
        Ok(())
    }
}
