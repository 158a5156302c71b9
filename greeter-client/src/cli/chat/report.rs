//! The threads that wait for what may happen at any time, and report it.

use std::io::{self, Read};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use greeter_client::{ConnectionError, Receiver};

/// How many reports may wait: a server that floods must not fill the memory.
const REPORTS_MAX: usize = 16;

/// What happened.
pub(super) enum Report {
    /// Keys, or lines where the terminal makes them.
    Typed(Vec<u8>),
    /// Nothing will be typed any more.
    TypingEnded,
    Received(Vec<u8>),
    /// The server closed, or why nothing will come any more.
    ServerEnded(Option<ConnectionError>),
    /// The process was told to end, by this signal.
    #[cfg_attr(not(unix), expect(dead_code, reason = "nobody sends one"))]
    Signal(i32),
    /// The process goes on after having been stopped.
    #[cfg_attr(not(unix), expect(dead_code, reason = "nothing stops it"))]
    Resumed,
}

/// Starts them. They end with the process, since nothing else ends their waiting.
pub(super) fn start(receiver: Receiver) -> io::Result<mpsc::Receiver<Report>> {
    let (sender, reports) = mpsc::sync_channel(REPORTS_MAX);
    #[cfg(unix)]
    watch_signals(sender.clone())?;
    let keyboard = sender.clone();
    thread::Builder::new().name("keyboard".into()).spawn(move || watch_keyboard(&keyboard))?;
    thread::Builder::new().name("server".into()).spawn(move || watch_server(receiver, &sender))?;
    Ok(reports)
}

// Where a report is not taken, the conversation is over.

fn watch_keyboard(reports: &SyncSender<Report>) {
    let mut keys = [0; 4096];
    loop {
        let report = match io::stdin().read(&mut keys) {
            Ok(count @ 1..) => Report::Typed(keys[..count].to_vec()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal that fails has been hung up.
            Ok(0) | Err(_) => Report::TypingEnded,
        };
        let ended = matches!(report, Report::TypingEnded);
        if reports.send(report).is_err() || ended {
            return;
        }
    }
}

fn watch_server(mut receiver: Receiver, reports: &SyncSender<Report>) {
    loop {
        let report = match receiver.receive_bytes() {
            Ok(Some(bytes)) => Report::Received(bytes.to_vec()),
            Ok(None) => Report::ServerEnded(None),
            // A person may think for as long as they like, and so may a server.
            Err(ConnectionError::TimedOut { .. }) => continue,
            Err(err) => Report::ServerEnded(Some(err)),
        };
        let ended = matches!(report, Report::ServerEnded(_));
        if reports.send(report).is_err() || ended {
            return;
        }
    }
}

#[cfg(unix)]
fn watch_signals(reports: SyncSender<Report>) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGCONT, SIGHUP, SIGINT, SIGTERM])?;
    let report = |signal| if signal == SIGCONT { Report::Resumed } else { Report::Signal(signal) };
    let watch = move || signals.forever().try_for_each(|signal| reports.send(report(signal)));
    thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(())
}
