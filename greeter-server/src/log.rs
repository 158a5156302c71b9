//! Turns events of the library and of this binary into lines on stderr. Must never make the server
//! wait for stderr.
//!
//! An event passes [`limit`], which counts what comes too often, becomes a [`line`], and waits in a
//! bounded queue for [`writer`], the only thread that touches stderr. Every event is shown, or
//! counted as `suppressed` or as `lost` in a line that says so.
//!
//! It replaces a `tracing` subscriber from another crate. What those do in addition is spans, which
//! are not used here.

mod limit;
mod line;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use self::limit::{LimitOutcome, RateLimits};
pub(crate) use self::line::Format;
use self::line::{LogLine, message};
use self::writer::{LogQueue, Writer};

/// The log of this process. When it is dropped, the queued lines are still written, within a
/// second.
pub(crate) struct Log {
    writer: Writer,
    level: Arc<SharedLevel>,
}

/// Starts the log of this process.
pub(crate) fn start(level: LevelFilter, format: Format) -> io::Result<Log> {
    let is_colourful = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = if is_colourful { format.coloured() } else { format };
    let limits = Arc::new(RateLimits::default());
    let writer = Writer::start(&io::stderr(), format, Arc::clone(&limits))?;
    let shared = Arc::new(SharedLevel::new(level));
    let log = LogSubscriber { level: Arc::clone(&shared), format, limits, queue: writer.queue() };
    tracing::subscriber::set_global_default(log).map_err(io::Error::other)?;
    report_panics(level);
    Ok(Log { writer, level: shared })
}

impl Log {
    /// Has this level hold from now on.
    pub(crate) fn set_level(&self, level: LevelFilter) {
        self.level.set(level);
        // Each place in the program that emits events remembers whether anybody wants them.
        tracing::callsite::rebuild_interest_cache();
        report_panics(level);
    }

    /// Writes a line that is no event, after all events so far.
    pub(crate) fn write_line(&self, line: &str) {
        self.writer.write_line(line);
    }
}

/// The least level that is logged, for all threads.
struct SharedLevel(AtomicUsize);

impl SharedLevel {
    const LEVELS: [LevelFilter; 6] = [
        LevelFilter::OFF,
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];

    fn new(level: LevelFilter) -> Self {
        let shared = Self(AtomicUsize::new(0));
        shared.set(level);
        shared
    }

    fn set(&self, level: LevelFilter) {
        let index = Self::LEVELS.iter().position(|known| *known == level);
        self.0.store(index.unwrap_or_default(), Ordering::Relaxed);
    }

    fn get(&self) -> LevelFilter {
        Self::LEVELS[self.0.load(Ordering::Relaxed)]
    }
}

/// The subscriber.
struct LogSubscriber {
    level: Arc<SharedLevel>,
    format: Format,
    limits: Arc<RateLimits>,
    queue: LogQueue,
}

impl Subscriber for LogSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level.get()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.get())
    }

    fn event(&self, event: &Event<'_>) {
        match self.limits.admit(event.metadata(), message(event), Instant::now()) {
            LimitOutcome::Shown { before } => {
                if let Some(suppressed) = before {
                    self.queue.send(suppressed.line(self.format), suppressed.count);
                }
                let mut line = LogLine::begin(self.format, *event.metadata().level());
                event.record(&mut line);
                self.queue.send(line.finish(), 1);
            }
            LimitOutcome::Suppressed => {}
        }
    }

    // Spans are not enabled, so none of these is called.

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Makes panics events too: Rust's own report would block on stderr. Without a log, it is better
/// than none.
fn report_panics(level: LevelFilter) {
    if level == LevelFilter::OFF {
        // The one that Rust has.
        drop(panic::take_hook());
        return;
    }
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        let thread = thread::current();
        let at = panic.location().map(tracing::field::display);
        tracing::error!(thread = %thread.name().unwrap_or("unnamed"), at, error = %text, "Panicked.");
        // Captured only if RUST_BACKTRACE asks for it.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            trace.to_string().lines().for_each(|line| tracing::error!("{line}"));
        }
    }));
}

#[cfg(test)]
mod tests;
