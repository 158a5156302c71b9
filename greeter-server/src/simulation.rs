//! Runs the server without sockets, threads and time: worlds that follow from a seed, in which
//! everything goes wrong.
//!
//! The [acceptor](crate::accept::acceptor), the [connection thread](crate::connection::thread), the
//! [pool](crate::pool::worker), the [watchdog](crate::pool::watchdog), the
//! [admission](crate::admission) and the mailboxes between them are the real ones. Simulated is
//! what is beneath them: a [wire](wire) for each client, a [clock](clock), and chance in place of a
//! scheduler. A naive [oracle] sees every byte that the server reads and writes, and knows what the
//! server owes.
//!
//! If a world breaks a promise, its seed is printed. `GREETER_SEED=… cargo test -p greeter-server
//! --lib simulation` runs it again and prints each step. `GREETER_SEEDS` sets the number of worlds.

mod client;
mod clock;
mod listener;
mod oracle;
mod pool;
mod random;
mod responder;
mod rules;
pub(crate) mod toy_tls;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use world::World;

/// How many worlds a test runs without `GREETER_SEEDS`: as many as take a few seconds. CI runs many
/// more.
const SEEDS: u64 = 1_000;

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

fn run(seed: u64, is_traced: bool) -> u64 {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, is_traced).run())).unwrap_or_else(|panic| {
        eprintln!(
            "Seed {seed} has broken a promise. To see how:\n\
             GREETER_SEED={seed} cargo test -p greeter-server --lib simulation -- --nocapture"
        );
        resume_unwind(panic)
    })
}

#[test]
fn no_world_breaks_a_promise() {
    if let Some(seed) = number_in("GREETER_SEED") {
        run(seed, true);
        return;
    }
    let seeds = number_in("GREETER_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    run(seed, false);
                }
            });
        }
    });
}

#[test]
fn a_seed_repeats_its_world() {
    for seed in 0..50 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
