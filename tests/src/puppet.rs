//! A responder that does as the client says, the bad things too.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

use greeter_server::{BoxError, CloseReason, Line, Peer, Reply, Responder};

/// Obeys the first word of a line: `echo X`, `sleep MS X`, `hang X` (until
/// [released](Self::release)), `panic`, `panic-locked`, `big N`, `nl`, `err`, `quit`.
#[derive(Debug, Default)]
pub struct Puppet {
    lock: Mutex<()>,
    gate: Gate,
    farewells: [AtomicU64; CloseReason::ALL.len()],
}

/// Shut at first, and open for ever after.
#[derive(Debug, Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Lets everyone pass.
    pub fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Puppet {
    /// Lets those go on that hang, and all that come after them.
    pub fn release(&self) {
        self.gate.open();
    }

    /// How often a client was said to have left for this reason.
    pub fn farewells(&self, reason: CloseReason) -> u64 {
        self.farewells[reason.index()].load(Ordering::SeqCst)
    }
}

impl Responder for Puppet {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let (word, rest) = line.to_str()?.split_once(' ').unwrap_or((line.to_str()?, ""));
        match word {
            "echo" => reply.line(rest),
            "sleep" => {
                let (duration, rest) = rest.split_once(' ').ok_or("sleep MS X")?;
                std::thread::sleep(Duration::from_millis(duration.parse()?));
                reply.line(rest);
            }
            "hang" => {
                self.gate.pass();
                reply.line(rest);
            }
            "panic" => {
                reply.line("half a reply");
                panic!("as told")
            }
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

    fn disconnect(&self, (): (), reason: CloseReason) {
        self.farewells[reason.index()].fetch_add(1, Ordering::SeqCst);
    }
}

/// Panics that are meant say `as told`, or nothing; their messages would bury everything else.
pub fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str));
            if text.is_some_and(|text| !text.starts_with("as told")) {
                others(panic);
            }
        }));
    });
}
