//! Turns a number and what is known of a client into the [`Peer`] that a responder sees.

use std::fmt;
use std::sync::Arc;

use crate::address::Address;
use crate::proxy::{ProxyAddresses, ProxyHeader, ProxyTlvs};
use crate::tls::TlsInfo;

/// The id of one client. No two clients that are connected at the same time have the same, and an
/// id is given again only after four billion other clients at the least.
///
/// The server chooses it and passes it in [`Peer::id`]. It displays as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A client, as a responder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's id on this server.
    pub id: ClientId,
    /// The address that the client connects from. Behind a proxy, it is what the proxy's header
    /// says.
    pub address: Address,
    /// How the client has come; none if it has connected to the server itself, in plain, at a
    /// listener that has no name and no TLS.
    pub origin: Option<Arc<Origin>>,
}

/// How a client has come: at which listener, through a proxy, in TLS, or where TLS may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The name of the listener that it has come to, if that was given one (`Listener::named` of
    /// greeter-server).
    pub listener: Option<Arc<str>>,
    /// What its proxy has said, if it has come through one.
    pub proxy: Option<Proxied>,
    /// What its TLS handshake has told, if it speaks TLS.
    pub tls: Option<TlsInfo>,
    /// Whether a reply may [start TLS](crate::Reply::start_tls).
    pub can_start_tls: bool,
}

/// What a proxy has said of a client, in its [header](crate::ProxyHeader).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxied {
    /// The proxy's own address.
    pub via: Address,
    /// Whose connection it is, and to which address that was made.
    pub addresses: ProxyAddresses,
    /// What else the proxy has said.
    pub tlvs: ProxyTlvs,
}

/// Creates the id that has this number.
///
/// It is for drivers of a [`Connection`](crate::Connection), which must not give a number twice.
#[must_use]
pub const fn client_id(number: u64) -> ClientId {
    ClientId(number)
}

impl ClientId {
    /// Returns the number that the id displays as.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer {
    /// Creates the description of a client.
    #[must_use]
    pub const fn new(id: ClientId, address: Address) -> Self {
        Self { id, address, origin: None }
    }

    /// Returns the name of the listener that the client has come to, if that was given one.
    #[must_use]
    pub fn listener(&self) -> Option<&str> {
        self.origin.as_ref()?.listener.as_deref()
    }

    /// Returns what the client's TLS handshake has told, if it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.origin.as_ref()?.tls.as_ref()
    }

    /// Returns whether a reply may [start TLS](crate::Reply::start_tls): whether the client has
    /// come to a listener for that, and does not speak TLS yet.
    #[must_use]
    pub fn can_start_tls(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.can_start_tls)
    }

    /// The client speaks TLS from now on.
    pub(crate) fn tls_started(&mut self, info: TlsInfo) {
        let mut origin = self.origin.as_deref().cloned().unwrap_or_default();
        (origin.tls, origin.can_start_tls) = (Some(info), false);
        self.origin = Some(Arc::new(origin));
    }

    /// Returns the address of the proxy that the client has come through, if it has.
    #[must_use]
    pub fn via(&self) -> Option<Address> {
        self.origin.as_ref()?.proxy.as_ref().map(|proxy| proxy.via)
    }
}

impl Origin {
    /// Creates the origin of a client.
    #[must_use]
    pub const fn new(proxy: Option<Proxied>, tls: Option<TlsInfo>) -> Self {
        Self { listener: None, proxy, tls, can_start_tls: false }
    }

    /// Names the listener.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Origin, Peer, Reply, Responder};
    /// # struct Rooms;
    /// # impl Responder for Rooms {
    /// #     type Session = ();
    /// fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    ///     reply.line(if peer.listener() == Some("inside") { "welcome" } else { "who is there?" });
    ///     Ok(())
    /// }
    /// #     fn respond(&self, _: &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
    /// #         Ok(())
    /// #     }
    /// # }
    ///
    /// TestClient::connect_by(Origin::default().with_listener("inside"), &Rooms).expect("welcome\n");
    /// TestClient::connect(&Rooms).expect("who is there?\n");
    /// ```
    #[must_use]
    pub fn with_listener(mut self, name: impl Into<Arc<str>>) -> Self {
        self.listener = Some(name.into());
        self
    }

    /// Lets a reply start TLS.
    #[must_use]
    pub fn with_start_tls(mut self) -> Self {
        self.can_start_tls = self.tls.is_none();
        self
    }
}

impl Proxied {
    /// Creates what a header says that has come from the proxy at this address.
    #[must_use]
    pub fn new(via: Address, header: ProxyHeader) -> Self {
        Self { via, addresses: header.addresses, tlvs: header.tlvs }
    }
}
