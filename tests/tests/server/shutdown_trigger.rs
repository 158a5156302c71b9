//! A server is told to stop by whoever has the trigger, its own responder among them; whoever has
//! the handle waits for it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use greeter_server::{CloseReason, DrainReport, ServerHandle, ShutdownTrigger, responder_fn};
use greeter_tests::books::balanced;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::{PLACEMENTS, answered_by, builder, spawn};

/// Longer than any test waits.
const AN_HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_responder_has_its_own_server_stop_and_loses_nothing() {
    for workers in PLACEMENTS {
        let builder = answered_by(workers).connection_threads(1);
        let trigger = builder.shutdown_trigger();
        let server = spawn(builder.responder_fn(move |line: &str| {
            if line == "stop" {
                trigger.trigger(AN_HOUR);
            }
            line.to_owned()
        }));
        let (mut idle, mut client) = (Client::connect(server.local_addr()), Client::connect(server.local_addr()));
        assert_eq!(idle.ask("a"), "a\n");
        client.send("stop\nb\n");
        assert_eq!(client.rest(), b"stop\nb\n");
        assert_eq!(idle.rest(), b"");
        drop((client, idle));
        let report = server.wait();
        balanced(&report.stats);
        let DrainReport { stats, replies, discarded, overran, threads_left, .. } = report;
        assert_eq!((stats.replies, replies, discarded, overran, threads_left), (3, 2, 0, 0, 0), "{workers} workers");
    }
}

/// Whoever is asked shuts the server down by its handle, if it is there.
#[test]
fn a_responder_that_shuts_its_server_down_does_not_wait_for_itself() {
    for workers in PLACEMENTS {
        let handle = Arc::new(Mutex::new(None::<ServerHandle>));
        let (reports, report) = mpsc::channel();
        let responder = {
            let (handle, reports) = (Arc::clone(&handle), Mutex::new(reports));
            responder_fn(move |line: &str| {
                let server = handle.lock().expect("nobody panics").take().ok_or("nobody is there to shut down")?;
                let report = server.shutdown(AN_HOUR);
                reports.lock().expect("nobody panics").send(report)?;
                Ok::<_, greeter_server::BoxError>(line.to_owned())
            })
        };
        let server = spawn(answered_by(workers).connection_threads(1).responder(responder));
        let mut client = Client::connect(server.local_addr());
        *handle.lock().expect("nobody panics") = Some(server);
        client.send("stop\n");
        assert_eq!(client.rest(), b"stop\n", "{workers} workers");
        let report = report.recv().expect("the responder has sent it");
        // The workers, the connection thread and the watch.
        assert_eq!(report.threads_left, workers + 2);
        assert_eq!((report.stats.open(), report.overran), (1, 0));
    }
}

#[test]
fn told_several_times_a_server_keeps_to_the_earliest_deadline() {
    let soon = Duration::from_millis(50);
    for workers in PLACEMENTS {
        for [first, second] in [[AN_HOUR, soon], [soon, AN_HOUR]] {
            let puppet = Arc::new(Puppet::default());
            let server =
                spawn(answered_by(workers).connection_threads(1).reply_timeout(None).responder(Arc::clone(&puppet)));
            let mut client = Client::connect(server.local_addr());
            assert_eq!(client.ask("echo here"), "here\n");
            client.send("hang for ever\n");
            wait_until("it hangs", || server.stats().bytes_received == 24);
            let trigger = server.shutdown_trigger().clone();
            trigger.trigger(first);
            let waiting = {
                let server = server.clone();
                thread::spawn(move || server.wait())
            };
            trigger.trigger(second);
            let report = waiting.join().expect("the server stops");
            // Where it is a connection thread that hangs, the ticker is there for it.
            let left = if workers == 0 { 2 } else { 1 };
            assert_eq!(report.threads_left, left, "{workers} workers, {first:?}");
            puppet.release();
        }
    }
}

#[test]
fn a_server_that_is_told_to_stop_before_it_starts_serves_whom_it_has_promised_to() {
    let server = builder().workers(2);
    let trigger: ShutdownTrigger = server.shutdown_trigger();
    let server = server.bind("127.0.0.1:0").expect("loopback has a free port");
    let mut client = Client::connect(server.local_addr());
    client.send("Bob\n");
    trigger.trigger(AN_HOUR);
    let report = server.run().expect("threads can be had");
    assert_eq!(client.rest(), b"Hello, Bob\n");
    assert_eq!((report.replies, report.stats.closed_by[CloseReason::Shutdown]), (1, 1));
    // There is nobody any more.
    trigger.trigger(Duration::ZERO);
}

/// The only client that comes from here.
const ALARMING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Has the server stop as soon as it tells of that client that it was turned away.
struct Alarmed(ShutdownTrigger);

impl tracing::Subscriber for Alarmed {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);

        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{value:?}");
            }
        }

        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains("Turned a client away.") && text.0.contains(&ALARMING.to_string()) {
            self.0.trigger(AN_HOUR);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Events reach whoever listens when the server holds none of its locks. The only test here that
/// has a subscriber, for which there is one in a process: it hears of the others' clients as well,
/// and does nothing about them.
#[test]
fn whoever_hears_of_a_refusal_may_have_the_server_stop() {
    let builder = builder().max_connections(1);
    let trigger = builder.shutdown_trigger();
    let server = spawn(builder);
    let mut served = Client::connect(server.local_addr());
    assert_eq!(served.ask("Ann"), "Hello, Ann\n");
    tracing::subscriber::set_global_default(Alarmed(trigger)).expect("nobody else listens");
    let mut refused = Client::connect_from(ALARMING.into(), server.local_addr());
    assert_eq!(refused.rest(), b"error: too many connections\n");
    assert_eq!(served.rest(), b"");
    drop((served, refused));
    assert_eq!(server.wait().rejected, 0, "it was before the stop");
}
