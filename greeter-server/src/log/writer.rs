//! Writes lines to stderr on a thread of its own, with a queue before it. The thread may wait for
//! stderr as long as it likes: nothing waits for it but the end of the program, and that for
//! [`FLUSH`] at most.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select_biased};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::Level;

use super::limit::RateLimits;
use super::line::{Format, LogLine};

/// How many lines may wait: about 1 MiB, or ten seconds of clients that come and go faster than is
/// shown.
pub(super) const QUEUE_LINES: usize = 2048;

/// How long the end of the program waits for queued lines.
const FLUSH: Duration = Duration::from_secs(1);

/// How long the writer waits before it reports lost events again.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// The thread that writes. Dropping it writes the queued lines and ends the thread, within
/// [`FLUSH`].
#[derive(Debug)]
pub(super) struct Writer {
    queue: LogQueue,
    end: Option<Sender<Infallible>>,
    ended: Receiver<Infallible>,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    lines: Sender<QueuedLine>,
    /// How many events found the queue full since the last that did not.
    lost: Arc<AtomicU64>,
}

/// A line that waits, and what is to be counted if it is lost.
#[derive(Debug)]
struct QueuedLine {
    text: String,
    /// How many events are lost with the line.
    events: u64,
    /// How many events were lost between this line and the one before it.
    lost_before: u64,
}

impl Writer {
    /// Starts the thread that writes to `output`. It does not use Rust's own handle: that has a
    /// lock, which a thread that waits for the output holds meanwhile, and it treats a closed
    /// output as one that was written to.
    pub(super) fn start(output: &impl AsFd, format: Format, limits: Arc<RateLimits>) -> io::Result<Self> {
        let output = File::from(output.as_fd().try_clone_to_owned()?);
        let (lines, queued) = bounded(QUEUE_LINES);
        let (end, end_requested) = bounded(0);
        let (is_running, ended) = bounded(0);
        let lost = Arc::new(AtomicU64::new(0));
        let output = LogOutput { file: output, is_torn: false };
        let loss = LostEvents { full: Arc::clone(&lost), events: 0, next_notice: None };
        let work = WriterThread { queued, output, format, limits, loss };
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            work.run(&end_requested);
            drop::<Sender<Infallible>>(is_running);
        })?;
        Ok(Self { queue: LogQueue { lines, lost }, end: Some(end), ended })
    }

    /// Writes a line that is no event, after all events so far.
    pub(super) fn write_line(&self, line: &str) {
        self.queue.send(format!("{line}\n"), 0);
    }

    pub(super) fn queue(&self) -> LogQueue {
        self.queue.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end = None;
        // Nothing is ever sent: the channel closes when the thread ends.
        let _ = self.ended.recv_timeout(FLUSH);
    }
}

impl LogQueue {
    /// Queues a line that stands for this many events, or counts them as lost. Never blocks.
    pub(super) fn send(&self, text: String, events: u64) {
        let lost_before = self.lost.swap(0, Ordering::Relaxed);
        if self.lines.try_send(QueuedLine { text, events, lost_before }).is_err() {
            self.lost.fetch_add(lost_before + events, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// The state of the thread.
struct WriterThread {
    queued: Receiver<QueuedLine>,
    output: LogOutput,
    format: Format,
    limits: Arc<RateLimits>,
    loss: LostEvents,
}

/// Events that were lost and not reported yet.
struct LostEvents {
    /// Counts the events that found the queue full.
    full: Arc<AtomicU64>,
    events: u64,
    /// When they may be reported; none if they never were.
    next_notice: Option<Instant>,
}

impl WriterThread {
    fn run(mut self, end_requested: &Receiver<Infallible>) {
        loop {
            // The number of suppressed events comes after those that were shown, so only when no
            // line waits.
            let idle = self.next_tick().map_or_else(never, at);
            select_biased! {
                recv(end_requested) -> _ => break,
                recv(self.queued) -> line => match line {
                    Ok(line) => self.write(&line),
                    Err(_) => break,
                },
                recv(idle) -> _ => self.tick(Instant::now()),
            }
        }
        self.finish();
    }

    /// Returns when there is something to write though no line comes. What leads to that, a kind of
    /// event or a loss, is recorded before the line that wakes this thread.
    fn next_tick(&self) -> Option<Instant> {
        let notice = self.loss.is_any().then(|| self.loss.next_notice.unwrap_or_else(Instant::now));
        self.limits.next_end().into_iter().chain(notice).min()
    }

    /// Writes what is due though no line comes.
    fn tick(&mut self, now: Instant) {
        self.loss.events += self.loss.full.swap(0, Ordering::Relaxed);
        self.report_loss(now);
        for suppressed in self.limits.end(now) {
            self.put(&suppressed.line(self.format), suppressed.count);
        }
    }

    fn write(&mut self, line: &QueuedLine) {
        self.loss.events += line.lost_before;
        self.report_loss(Instant::now());
        self.put(&line.text, line.events);
    }

    /// Writes all that is left, and then the counts of the rest.
    fn finish(mut self) {
        let queued = self.queued.clone();
        queued.try_iter().take(QUEUE_LINES).for_each(|line| self.write(&line));
        for suppressed in self.limits.end_all() {
            self.put(&suppressed.line(self.format), suppressed.count);
        }
        self.loss.next_notice = None;
        self.tick(Instant::now());
    }

    /// Writes a line, or counts its events as lost.
    fn put(&mut self, line: &str, events: u64) {
        if self.output.write(line).is_err() {
            self.loss.events += events;
        }
    }

    /// Reports how many events were lost, if any were and it is time.
    fn report_loss(&mut self, now: Instant) {
        if self.loss.events == 0 || self.loss.next_notice.is_some_and(|at| now < at) {
            return;
        }
        self.loss.next_notice = Some(now + NOTICE_INTERVAL);
        let events = mem::take(&mut self.loss.events);
        let mut line = LogLine::begin(self.format, Level::WARN);
        line.text("message", format_args!("Events are missing here, since stderr did not take them."));
        line.number("lost", events);
        self.put(&line.finish(), events);
    }
}

impl LostEvents {
    fn is_any(&self) -> bool {
        self.events > 0 || self.full.load(Ordering::Relaxed) > 0
    }
}

/// A file, a pipe or a terminal that takes lines as a whole.
struct LogOutput {
    file: File,
    /// Whether it took the start of a line and not its end.
    is_torn: bool,
}

impl LogOutput {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.is_torn {
            self.write_bytes(b"\n")?;
        }
        self.write_bytes(line.as_bytes())
    }

    fn write_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_torn = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The program that started this one may have made the pipe non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the output is writable.
    fn wait(&self) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
