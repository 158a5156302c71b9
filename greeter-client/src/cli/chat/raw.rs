//! A terminal that gives each key as it is pressed, and shows nothing by itself. It is given back as it was.

#[cfg(not(unix))]
pub(super) use elsewhere::RawTerminal;
#[cfg(unix)]
pub(super) use unix::RawTerminal;

#[cfg(unix)]
mod unix {
    use std::io;

    use rustix::process::{Signal, kill_current_process_group};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    };

    /// Where a terminal does not say how wide it is.
    const COLUMNS: usize = 80;

    /// The terminal of stdin and stdout; dropping this restores it.
    #[derive(Debug)]
    pub(in super::super) struct RawTerminal {
        original: Termios,
    }

    impl RawTerminal {
        pub(in super::super) fn open() -> io::Result<Self> {
            let terminal = Self { original: tcgetattr(io::stdin())? };
            terminal.enter()?;
            Ok(terminal)
        }

        /// Each key comes at once, those that would be signals too. Output is processed as before: LF goes to the start.
        pub(in super::super) fn enter(&self) -> io::Result<()> {
            let mut raw = self.original.clone();
            raw.input_modes -=
                InputModes::BRKINT | InputModes::ICRNL | InputModes::INPCK | InputModes::ISTRIP | InputModes::IXON;
            raw.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG;
            raw.special_codes[SpecialCodeIndex::VMIN] = 1;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            Ok(tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?)
        }

        fn restore(&self) {
            // A terminal that has gone needs no restoring.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.original);
        }

        /// What Ctrl-Z does elsewhere. SIGCONT comes when it is over, and then it is time to [`enter`](Self::enter) again.
        pub(in super::super) fn suspend(&self) {
            self.restore();
            let _ = kill_current_process_group(Signal::TSTP);
        }

        /// How many columns the terminal has now.
        pub(in super::super) fn columns(&self) -> usize {
            match tcgetwinsize(io::stdout()) {
                Ok(size) if size.ws_col > 0 => size.ws_col.into(),
                _ => COLUMNS,
            }
        }
    }

    impl Drop for RawTerminal {
        fn drop(&mut self) {
            self.restore();
        }
    }
}

/// Where it is not known how to have such a terminal, there is none.
#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    #[derive(Debug)]
    pub(in super::super) enum RawTerminal {}

    impl RawTerminal {
        pub(in super::super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn enter(&self) -> io::Result<()> {
            match *self {}
        }

        pub(in super::super) fn suspend(&self) {
            match *self {}
        }

        pub(in super::super) fn columns(&self) -> usize {
            match *self {}
        }
    }
}
