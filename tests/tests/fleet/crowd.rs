//! Turns an address into clients that stay connected and ask now and then, each of which keeps
//! account of what it gets. Must not panic for what servers do.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use greeter_tests::client::{PATIENCE, wait_until};

/// How long a client thinks before its next line.
const THINKING: Duration = Duration::from_millis(5);

/// What a server says at the end of a session that has lasted long enough.
const GOODBYE: &str = "error: session over\n";

/// What became of one client's lines and connections. A line that has no reply is sent again, on
/// the next connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Lines that were greeted.
    pub(crate) greeted: usize,
    /// Connections that the server ended in words.
    pub(crate) told: usize,
    /// Connections that ended behind a whole reply, without a word.
    pub(crate) ended: usize,
    /// Connections that broke: resets, and ends within a reply.
    pub(crate) broken: usize,
    /// Lines that were on their way when their connection was over.
    pub(crate) sent_again: usize,
    /// Connections that could not be had, and replies that were to nothing that was asked.
    pub(crate) faults: Vec<String>,
}

/// Clients on threads of their own. They stay until they are asked for their accounts.
pub(crate) struct Crowd {
    is_over: Arc<AtomicBool>,
    accounts: Vec<Arc<Mutex<Account>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Has so many come, and waits until each has been greeted.
    pub(crate) fn new(address: SocketAddr, size: usize) -> Self {
        let mut crowd = Self { is_over: Arc::new(AtomicBool::new(false)), accounts: Vec::new(), threads: Vec::new() };
        for number in 0..size {
            let account = Arc::new(Mutex::new(Account::default()));
            crowd.accounts.push(Arc::clone(&account));
            let guest = Guest { address, number, connection: None, account };
            let is_over = Arc::clone(&crowd.is_over);
            crowd.threads.push(thread::spawn(move || guest.stay(&is_over)));
        }
        crowd.each_is_greeted();
        crowd
    }

    /// The accounts so far.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.accounts.iter().map(|account| account.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Waits until each has been greeted once more.
    #[track_caller]
    pub(crate) fn each_is_greeted(&self) {
        let before = self.accounts();
        let is_greeted = |(before, now): (&Account, Account)| now.greeted > before.greeted || !now.faults.is_empty();
        wait_until("each is greeted", || before.iter().zip(self.accounts()).all(is_greeted));
    }

    /// Has them leave, and returns their accounts.
    pub(crate) fn leave(mut self) -> Vec<Account> {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client panics for nothing"));
        self.accounts()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// What a client hears.
enum Heard {
    Line(String),
    End,
    Broken,
    Nothing,
}

struct Guest {
    address: SocketAddr,
    number: usize,
    connection: Option<BufReader<TcpStream>>,
    account: Arc<Mutex<Account>>,
}

impl Guest {
    fn note(&self, what: impl FnOnce(&mut Account)) {
        what(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn stay(mut self, is_over: &AtomicBool) {
        for line in 0.. {
            let name = format!("{}.{line}", self.number);
            while !self.is_greeted_as(&name) {
                // Once it has failed, there is nothing more to learn from it.
                if is_over.load(Ordering::Relaxed) || self.has_faults() {
                    return;
                }
                self.note(|account| account.sent_again += 1);
            }
            self.think();
            if is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn has_faults(&self) -> bool {
        !self.account.lock().unwrap_or_else(PoisonError::into_inner).faults.is_empty()
    }

    /// Sends a line, and tells whether its greeting has come.
    fn is_greeted_as(&mut self, name: &str) -> bool {
        if self.connection.is_none() {
            match connect(self.address) {
                Ok(socket) => self.connection = Some(BufReader::new(socket)),
                Err(error) => {
                    self.note(|account| account.faults.push(format!("cannot connect: {error}")));
                    return false;
                }
            }
        }
        let socket = self.connection.as_mut().expect("it is connected").get_mut();
        // Whether the server is still there, the reply tells.
        let _ = socket.write_all(format!("{name}\n").as_bytes());
        match self.hear(PATIENCE) {
            Heard::Line(line) if line == format!("Hello, {name}\n") => {
                self.note(|account| account.greeted += 1);
                true
            }
            heard => {
                self.is_over_with(heard, name);
                false
            }
        }
    }

    /// Waits, and learns of an end meanwhile.
    fn think(&mut self) {
        match self.hear(THINKING) {
            Heard::Nothing => {}
            heard => self.is_over_with(heard, "nothing"),
        }
    }

    fn hear(&mut self, at_most: Duration) -> Heard {
        let connection = self.connection.as_mut().expect("it is connected");
        connection.get_ref().set_read_timeout(Some(at_most)).expect("a socket can be set up");
        let mut line = String::new();
        match connection.read_line(&mut line) {
            Ok(0) => Heard::End,
            Ok(_) if line.ends_with('\n') => Heard::Line(line),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && line.is_empty() => {
                Heard::Nothing
            }
            _ => Heard::Broken,
        }
    }

    /// The connection has come to its end, in whatever way.
    fn is_over_with(&mut self, heard: Heard, asked: &str) {
        match heard {
            Heard::Line(line) if line == GOODBYE => match self.hear(PATIENCE) {
                Heard::End => self.note(|account| account.told += 1),
                _ => self.note(|account| account.faults.push("no end behind the goodbye".to_owned())),
            },
            Heard::Line(line) => self.note(|account| account.faults.push(format!("{line:?} in reply to {asked}"))),
            Heard::Nothing => self.note(|account| account.faults.push(format!("no reply to {asked}"))),
            Heard::End => self.note(|account| account.ended += 1),
            Heard::Broken => self.note(|account| account.broken += 1),
        }
        self.connection = None;
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// One number of all accounts together.
pub(crate) fn sum(accounts: &[Account], of: impl Fn(&Account) -> usize) -> usize {
    accounts.iter().map(of).sum()
}

/// Checks that whatever ended did so between lines, that nobody was refused, and that nothing came
/// that was not asked for.
#[track_caller]
pub(crate) fn nobody_is_harmed(accounts: &[Account]) {
    for account in accounts {
        assert!(account.faults.is_empty() && account.broken == 0, "{account:?}");
        assert!(account.sent_again <= account.told + account.ended, "{account:?}");
    }
}
