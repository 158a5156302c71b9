//! Several servers as one service: behind HAProxy, behind nftables as a node of Kubernetes has it,
//! and what becomes of clients when one of them goes. Each test begins with
//! [`alone`](greeter_tests::alone), since it wants most of the machine.

/// HAProxy, with the file that people copy.
mod balancer;
/// What a balancer cuts off or hands on: half-closes, sessions that it ends.
mod balancer_ends;
/// Clients that come or stay, and keep account.
mod crowd;
/// The files that people copy: for HAProxy, Kubernetes and images.
mod files;
/// What probes leave behind.
mod health_checks;
/// A server that is killed.
mod killed_server;
/// Hosts of their own, on one machine.
mod network;
/// Limits and the log behind HAProxy.
mod proxied_clients;
/// A server more, and who moves to it.
mod rebalancing;
/// Restarts of all servers, one after the other.
mod rolling_restarts;
/// A stop that lets go of clients one after the other.
mod spread_stops;
/// Clients that vanish without a word.
mod vanished_clients;
