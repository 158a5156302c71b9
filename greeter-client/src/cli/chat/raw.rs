//! A terminal that gives each key as it is pressed, and shows nothing by itself. It is given back
//! as it was.

#[cfg(not(unix))]
pub(super) use elsewhere::{Modes, RawTerminal};
#[cfg(unix)]
pub(super) use unix::{Modes, RawTerminal};

#[cfg(unix)]
mod unix {
    use std::io;

    use rustix::process::{Signal, getpgrp, kill_current_process_group};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
        tcsetattr,
    };

    /// Where a terminal does not say how wide it is.
    const COLUMNS: usize = 80;

    /// How the terminal of stdin works, for whoever gives it back.
    #[derive(Clone, Debug)]
    pub(crate) struct Modes(Termios);

    impl Modes {
        pub(crate) fn current() -> io::Result<Self> {
            Ok(Self(tcgetattr(io::stdin())?))
        }

        /// Makes it work like this again. It never waits, not even for a terminal that takes no
        /// output.
        pub(crate) fn restore(&self) {
            // A terminal that has gone needs no restoring.
            let _ = set(&self.0);
        }
    }

    /// Sets the modes at once: to wait until all output is taken would be to wait for whoever has
    /// stopped it. Where the terminal is somebody else's now, who brought us to the background,
    /// they stay: to change them would stop this process.
    fn set(modes: &Termios) -> io::Result<()> {
        if tcgetpgrp(io::stdin()).is_ok_and(|group| group != getpgrp()) {
            return Ok(());
        }
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, modes)?)
    }

    /// The terminal of stdin and stdout; dropping this restores it.
    #[derive(Debug)]
    pub(crate) struct RawTerminal {
        original: Modes,
    }

    impl RawTerminal {
        /// Opens a terminal that works like this now.
        pub(crate) fn open(original: Modes) -> io::Result<Self> {
            let terminal = Self { original };
            terminal.enter()?;
            Ok(terminal)
        }

        /// Each key comes at once, those that would be signals too. Output is processed as before:
        /// LF goes to the start.
        pub(crate) fn enter(&self) -> io::Result<()> {
            let mut raw = self.original.0.clone();
            raw.input_modes -=
                InputModes::BRKINT | InputModes::ICRNL | InputModes::INPCK | InputModes::ISTRIP | InputModes::IXON;
            raw.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
            raw.special_codes[SpecialCodeIndex::VMIN] = 1;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            set(&raw)
        }

        /// What Ctrl-Z does elsewhere. SIGCONT comes when it is over, and then it is time to
        /// [`enter`](Self::enter) again.
        pub(crate) fn suspend(&self) {
            self.original.restore();
            let _ = kill_current_process_group(Signal::TSTP);
        }

        /// How many columns the terminal has now.
        pub(crate) fn columns(&self) -> usize {
            match tcgetwinsize(io::stdout()) {
                Ok(size) if size.ws_col > 0 => size.ws_col.into(),
                _ => COLUMNS,
            }
        }
    }

    impl Drop for RawTerminal {
        fn drop(&mut self) {
            self.original.restore();
        }
    }
}

/// Where it is not known how to have such a terminal, there is none.
#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    #[derive(Clone, Debug)]
    pub(crate) enum Modes {}

    impl Modes {
        pub(crate) fn current() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn restore(&self) {
            match *self {}
        }
    }

    #[derive(Debug)]
    pub(crate) enum RawTerminal {}

    impl RawTerminal {
        pub(crate) fn open(original: Modes) -> io::Result<Self> {
            match original {}
        }

        pub(crate) fn enter(&self) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn suspend(&self) {
            match *self {}
        }

        pub(crate) fn columns(&self) -> usize {
            match *self {}
        }
    }
}
