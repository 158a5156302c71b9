//! The threads that wait for what may happen at any time, and report it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use greeter_client::session::StreamEnd;
use greeter_client::{ConnectionError, Receiver};

use crate::cli::input::Stdin;

/// How many reports may wait: a server that floods must not fill the memory.
const MAX_REPORTS: usize = 16;

/// What happened.
pub(super) enum ChatEvent {
    /// Keys, or lines where the terminal makes them.
    Typed(Vec<u8>),
    /// A line was typed of which the terminal has cut the end; what of it has been reported is no
    /// line.
    LineCut {
        /// It has been ended on the screen, too.
        is_over: bool,
    },
    /// Nothing will be typed any more.
    TypingEnded,
    Received(Vec<u8>),
    /// The server closed, or why nothing will come any more.
    ServerEnded(Result<StreamEnd, ConnectionError>),
    /// The process was told to end, by this signal.
    Signal(i32),
    /// The process goes on after having been stopped.
    Resumed,
}

/// What the threads report.
pub(super) struct ChatEvents {
    /// None only wakes whoever waits: it is for `signals` to say what has happened.
    events: mpsc::Receiver<Option<ChatEvent>>,
    signals: Arc<PendingSignals>,
}

impl ChatEvents {
    /// The next report: a signal overtakes all others, since what they lead to may take its time.
    pub(super) fn next(&self, within: Duration) -> Result<ChatEvent, RecvTimeoutError> {
        loop {
            if let Some(event) = self.signals.take() {
                return Ok(event);
            }
            if let Some(event) = self.events.recv_timeout(within)? {
                return Ok(event);
            }
        }
    }
}

/// The signals that came and were not told yet. They do not stand in the queue, which may be full.
#[derive(Default)]
struct PendingSignals {
    /// 0 is none.
    ending: AtomicI32,
    resumed: AtomicBool,
}

impl PendingSignals {
    fn take(&self) -> Option<ChatEvent> {
        match self.ending.swap(0, Ordering::Relaxed) {
            0 => self.resumed.swap(false, Ordering::Relaxed).then_some(ChatEvent::Resumed),
            signal => Some(ChatEvent::Signal(signal)),
        }
    }
}

/// Starts them. They end with the process, since nothing else ends their waiting. `give_back` makes
/// the terminal work as it did, should that be left to us.
pub(super) fn start(receiver: Receiver, give_back: impl Fn() + Send + Sync + 'static) -> io::Result<ChatEvents> {
    let (sender, events) = mpsc::sync_channel(MAX_REPORTS);
    let signals = Arc::new(PendingSignals::default());
    #[cfg(unix)]
    watch::signals(sender.clone(), Arc::clone(&signals), give_back)?;
    #[cfg(not(unix))]
    drop(give_back);
    let keyboard = sender.clone();
    thread::Builder::new().name("keyboard".into()).spawn(move || watch_keyboard(&keyboard))?;
    thread::Builder::new().name("server".into()).spawn(move || watch_server(receiver, &sender))?;
    Ok(ChatEvents { events, signals })
}

// Where a report is not taken, the conversation is over.

fn watch_keyboard(events: &SyncSender<Option<ChatEvent>>) {
    let mut keys = [0; 4096];
    let mut input = Stdin::default();
    loop {
        let event = match input.read(&mut keys) {
            Ok(count @ 1..) => ChatEvent::Typed(keys[..count].to_vec()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) if err.kind() == io::ErrorKind::InvalidData => ChatEvent::LineCut { is_over: !input.is_cutting() },
            // A terminal that fails has been hung up.
            Ok(0) | Err(_) => ChatEvent::TypingEnded,
        };
        let ended = matches!(event, ChatEvent::TypingEnded);
        if events.send(Some(event)).is_err() || ended {
            return;
        }
    }
}

fn watch_server(mut receiver: Receiver, events: &SyncSender<Option<ChatEvent>>) {
    loop {
        let event = match receiver.receive_bytes() {
            Ok(Some(bytes)) => ChatEvent::Received(bytes.to_vec()),
            Ok(None) => ChatEvent::ServerEnded(Ok(match receiver.is_truncated() {
                true => StreamEnd::Truncated,
                false => StreamEnd::Eof,
            })),
            // A person may think for as long as they like, and so may a server.
            Err(ConnectionError::TimedOut { .. }) => continue,
            Err(err) => ChatEvent::ServerEnded(Err(err)),
        };
        let ended = matches!(event, ChatEvent::ServerEnded(_));
        if events.send(Some(event)).is_err() || ended {
            return;
        }
    }
}

#[cfg(unix)]
mod watch {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::SyncSender;
    use std::thread;
    use std::time::Duration;

    use signal_hook::consts::SIGCONT;
    use signal_hook::iterator;
    use signal_hook::low_level;

    use crate::cli::chat::events::{ChatEvent, PendingSignals};
    use crate::cli::signals::ending;

    /// How long the conversation may take to end well. It takes milliseconds, unless the terminal
    /// takes no output.
    const ENDING: Duration = Duration::from_secs(1);

    /// Tells of signals, and sees to it that those which end the process do: at the second one, or
    /// when the first has not been enough. Nothing here waits for anybody.
    pub(super) fn signals(
        events: SyncSender<Option<ChatEvent>>,
        told: Arc<PendingSignals>,
        give_back: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<()> {
        let mut signals = iterator::Signals::new(ending().chain([SIGCONT]))?;
        let give_back = Arc::new(give_back);
        let watch = move || {
            let mut is_ending = false;
            for signal in signals.forever() {
                if signal == SIGCONT {
                    told.resumed.store(true, Ordering::Relaxed);
                } else {
                    let give_back = Arc::clone(&give_back);
                    let end = move || {
                        give_back();
                        // Without what is still to be written: that is what cannot be.
                        low_level::exit(128 + signal);
                    };
                    if std::mem::replace(&mut is_ending, true) {
                        end();
                    }
                    told.ending.store(signal, Ordering::Relaxed);
                    let (ending, last) = (thread::Builder::new().name("ending".into()), end.clone());
                    let wait = move || {
                        thread::sleep(ENDING);
                        last();
                    };
                    if ending.spawn(wait).is_err() {
                        end();
                    }
                }
                // Where the queue is full, nobody has to be woken.
                let _ = events.try_send(None);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(watch).map(drop)
    }
}
