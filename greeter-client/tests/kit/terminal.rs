//! A terminal, and a person who sits at it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, LocalModes, tcflow, tcgetattr};

use super::PATIENCE;

/// A person at a terminal: sees all that is shown, and types.
pub(crate) struct Person {
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    screen: Screen,
    modes: LocalModes,
    /// Where the command's end of the terminal can be opened again.
    path: String,
    pub(crate) child: Child,
}

/// Opens a terminal, gives it to `command`, and sits down.
pub(crate) fn sit_down(command: &mut Command) -> Person {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let line = File::options().read(true).write(true).open(&path).unwrap();
    let modes = tcgetattr(&master).unwrap().local_modes;
    let end = || Stdio::from(OwnedFd::from(line.try_clone().unwrap()));
    let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // The terminal hangs up when the last who holds its other end has gone.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

    let keyboard = File::from(master);
    let mut output = keyboard.try_clone().unwrap();
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut chunk) {
            if sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Person { keyboard, shown, screen: Screen::default(), modes, path, child }
}

impl Person {
    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until exactly these rows are on the screen, but for blanks at their ends.
    #[track_caller]
    pub(crate) fn sees(&mut self, rows: &[&str]) {
        if !self.waits_until(|seen| seen == rows) {
            panic!("awaited: {rows:#?}\nseen: {:#?}", self.rows());
        }
    }

    /// Waits until that holds of the rows on the screen.
    #[track_caller]
    pub(crate) fn sees_that(&mut self, holds: impl Fn(&[String]) -> bool) {
        assert!(self.waits_until(holds), "seen: {:#?}", self.rows());
    }

    fn waits_until(&mut self, holds: impl Fn(&[String]) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while !holds(&self.screen.rows()) {
            match self.shown.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(shown) => self.screen.show(&shown),
                Err(_) => return false,
            }
        }
        true
    }

    /// What is on the screen.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.screen.rows()
    }

    /// Rows that have been on the screen and were erased, in order.
    pub(crate) fn erased(&self) -> &[String] {
        &self.screen.erased
    }

    /// What was coloured on the screen, and how.
    pub(crate) fn colors(&self) -> &[String] {
        &self.screen.colors
    }

    /// Lets the terminal take no more output, as Ctrl-S does where that is not a key like any
    /// other.
    pub(crate) fn stops_the_output(&self) {
        let line = File::options().read(true).write(true).open(&self.path).unwrap();
        tcflow(&line, Action::OOff).unwrap();
    }

    /// Waits for the command to end like this, with the terminal as it was, whatever is on the
    /// screen.
    #[track_caller]
    pub(crate) fn is_left(&mut self, code: i32) {
        // Held, so that it does not forget.
        let line = File::options().read(true).write(true).open(&self.path).unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it goes on"),
            }
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        };
        assert_eq!(status.code(), Some(code));
        assert_eq!(tcgetattr(&line).unwrap().local_modes, self.modes);
    }

    /// Waits until the command gets each key as it is pressed, or until it does no longer.
    #[track_caller]
    pub(crate) fn has_raw_keys(&self, raw: bool) {
        let until = Instant::now() + PATIENCE;
        while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ICANON) == raw {
            assert!(Instant::now() < until, "raw keys are not {raw}");
            std::thread::yield_now();
        }
    }

    /// Waits for the command to end, with exactly these rows on the screen and the terminal as it
    /// was.
    #[track_caller]
    pub(crate) fn leaves(mut self, code: i32, rows: &[&str]) {
        // Asked first: with the last who held it, the terminal forgets.
        while let Ok(shown) = self.shown.recv_timeout(PATIENCE) {
            self.screen.show(&shown);
        }
        assert_eq!(self.screen.rows(), rows);
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
        assert_eq!(tcgetattr(&self.keyboard).unwrap().local_modes, self.modes);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of characters, and a cursor. It knows what the command may use, and panics at anything
/// else.
#[derive(Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What has come of a sequence or of a character.
    begun: Vec<u8>,
    colors: Vec<String>,
    erased: Vec<String>,
}

impl Screen {
    fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> =
            self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    fn show(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.begun.push(byte);
            let done = match self.begun[..] {
                [0x1b] | [0x1b, b'['] => false,
                [0x1b, b'[', .., last] => last.is_ascii_alphabetic(),
                _ => std::str::from_utf8(&self.begun).is_ok(),
            };
            if done {
                let one = String::from_utf8(std::mem::take(&mut self.begun)).unwrap();
                self.take(&one);
            }
        }
    }

    fn take(&mut self, one: &str) {
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
        let row = &mut self.rows[self.row];
        match one {
            "\r" => self.column = 0,
            "\n" => self.row += 1,
            // The terminal's own, where it drops what is typed.
            "\u{7}" => {}
            "\u{8}" => self.column -= 1,
            "\x1b[K" => {
                let erased: String = row.drain(self.column.min(row.len())..).collect();
                self.erased.extend((!erased.is_empty()).then_some(erased));
            }
            // Whether what is too wide goes on in the next row: here, no row is full.
            "\x1b[?7l" | "\x1b[?7h" => {}
            "\x1b[H" => (self.row, self.column) = (0, 0),
            "\x1b[2J" => self.rows.clear(),
            _ if one.starts_with("\x1b[") && one.ends_with('C') => {
                self.column += one[2..one.len() - 1].parse::<usize>().unwrap();
            }
            _ if one.starts_with("\x1b[") && one.ends_with('m') => self.colors.push(one[2..].to_owned()),
            one => {
                let character = one.chars().next().unwrap();
                assert!(!character.is_control() || character == '\t', "{one:?} reached the terminal");
                row.resize(row.len().max(self.column + 1), ' ');
                row[self.column] = character;
                self.column += 1;
            }
        }
    }
}
