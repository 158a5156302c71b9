//! Turns the first bytes that a proxy sends on a connection into the addresses of its client.
//!
//! It does not know whether a header is to be expected: that follows from who connects, never from
//! the bytes. It must not touch what follows the header.
//!
//! The rules are those of HAProxy's document "The PROXY protocol, versions 1 & 2"
//! (`doc/proxy-protocol.txt`); a section in a comment here is one of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use memchr::{memchr, memchr2};

use crate::address::Address;

const V1_START: &[u8] = b"PROXY ";
/// The longest line that a sender may write, CR LF included (section 2.1).
const MAX_V1_BYTES: usize = 107;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
const V2_FIXED_BYTES: usize = 16;

/// What a TLV has in front of its value: the type and two bytes of length.
const TLV_START_BYTES: usize = 3;
const TLV_ALPN: u8 = 0x01;
const TLV_AUTHORITY: u8 = 0x02;
const TLV_CRC32C: u8 = 0x03;
const TLV_NOOP: u8 = 0x04;
const TLV_UNIQUE_ID: u8 = 0x05;
const TLV_TLS: u8 = 0x20;
/// Within that of TLS (section 2.2.6).
const TLS_TLV_VERSION: u8 = 0x21;
const TLS_TLV_COMMON_NAME: u8 = 0x22;
const TLS_IS_SPOKEN: u8 = 0x01;
const TLS_HAS_CERTIFICATE: u8 = 0x02 | 0x04;

/// A header of the PROXY protocol, by which a proxy tells whose connection it relays.
///
/// Both versions are understood: the line of text (version 1) and the binary header (version 2).
/// The rules are those of HAProxy's `doc/proxy-protocol.txt`.
///
/// Whoever may send a header may claim any address. So a driver expects one from the proxies that
/// it was told of, from each of them and on each connection, and looks for none from anybody else
/// (section 2: a receiver "must not try to guess").
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyHeader {
    /// Whose connection it is.
    pub addresses: ProxyAddresses,
    /// What else the proxy tells. Only version 2 can.
    pub tlvs: ProxyTlvs,
}

/// Whose connection a proxy relays, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyAddresses {
    /// The proxy's own: it connects for itself, usually to see whether the server is up. The
    /// addresses are those of the socket. Only version 2 can say so, by the command `LOCAL`.
    /// HAProxy also says it of a client that came to it by a Unix socket.
    Local,
    /// A client's, whose address the proxy does not know or cannot say: `UNKNOWN` in version 1,
    /// UNSPEC and Unix sockets in version 2.
    Unknown,
    /// A client's with an IPv4 or IPv6 address. An IPv4 address that was written as IPv6 (RFC 4291,
    /// 2.5.5.2) is an IPv4 address here. How the client speaks to the proxy is not kept: version 2
    /// can say that it is UDP, as with QUIC, which changes nothing about whose connection this is.
    Inet {
        /// The client's address.
        source: SocketAddr,
        /// The address that the client connected to, usually one of the proxy.
        destination: SocketAddr,
    },
}

/// The type-length-value fields of a header (section 2.2), in the order in which they were sent.
///
/// All of it is what the sender wrote, as bytes: names that are no UTF-8, control characters,
/// nothing at all. Escape it before it is shown. `Debug` shows the types and lengths.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyTlvs(Box<[u8]>);

/// What a proxy tells of the TLS that its client speaks with it (PP2_TYPE_SSL, section 2.2.6), as
/// HAProxy does with `send-proxy-v2-ssl` and `send-proxy-v2-ssl-cn`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyTls<'a> {
    /// Whether the client speaks TLS with the proxy.
    pub is_spoken: bool,
    /// Whether the client has given a certificate that the proxy has verified: in this connection,
    /// or in one whose session it went on with.
    pub is_verified: bool,
    /// The version, such as `TLSv1.3`.
    pub version: Option<&'a [u8]>,
    /// The common name in the client's certificate. It should be UTF-8, which is not checked. It
    /// says who the client is if it [is verified](Self::is_verified).
    pub common_name: Option<&'a [u8]>,
}

/// The reason why bytes are no PROXY header. The connection is to be closed (section 2.1).
///
/// It displays as the reason in words, in lower case, without a full stop and without anything of
/// the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The bytes begin neither as version 1 nor as version 2 does.
    #[error("no PROXY header")]
    NoHeader,
    /// Version 1: CR LF is not among the first 107 bytes.
    #[error("PROXY line longer than 107 bytes")]
    LineTooLong,
    /// Version 1: the protocol is none of `TCP4`, `TCP6` and `UNKNOWN`, or no single space is
    /// behind it.
    #[error("PROXY line with an unknown protocol")]
    UnknownProtocol,
    /// Version 1: an address is not one of the protocol's family in its usual form, or no single
    /// space is behind it. Numbers of an IPv4 address have no leading zeros.
    #[error("PROXY line with an invalid address")]
    InvalidAddress,
    /// Version 1: a port is not a decimal number up to 65535 without sign and leading zeros, or
    /// what belongs there is not behind it: a single space, or CR.
    #[error("PROXY line with an invalid port")]
    InvalidPort,
    /// Version 1: a CR without an LF, or an LF without a CR.
    #[error("PROXY line that does not end with CR LF")]
    InvalidLineEnding,
    /// Version 2: the version is another one.
    #[error("PROXY header of an unknown version")]
    UnknownVersion,
    /// Version 2: the command is neither `LOCAL` nor `PROXY`.
    #[error("PROXY header with an unknown command")]
    UnknownCommand,
    /// Version 2: the address family and the transport are none of the seven pairs that section 2.2
    /// lists.
    #[error("PROXY header with an unknown address family or transport")]
    UnknownFamily,
    /// Version 2: the header is longer than 4096 bytes in all.
    #[error("PROXY header longer than 4096 bytes")]
    HeaderTooLong,
    /// Version 2: the header is too short for the addresses of its family.
    #[error("PROXY header too short for its addresses")]
    HeaderTooShort,
    /// Version 2: a TLV does not fit into the header, or into what is left of it, or has a length
    /// that its type does not allow.
    #[error("PROXY header with a TLV of the wrong length")]
    InvalidTlv,
    /// Version 2: the header has a checksum (CRC32C) that is not its own, or more than one.
    #[error("PROXY header with a wrong checksum")]
    WrongChecksum,
}

impl ProxyHeader {
    /// The longest header that is read, in bytes: 4096. Section 2 wants headers within 536, and the
    /// length field can say 64 KiB; nginx and go-proxyproto draw the line here.
    pub const MAX_BYTES: usize = 4096;

    /// Parses the header that `bytes` begin with. Returns it with its length in bytes, or `None`
    /// if the bytes end before the header does. What follows the header is not looked at.
    ///
    /// It remembers nothing: if it returns `None`, call it again with the same bytes and more. A
    /// header of version 1 has at most 107 bytes and one of version 2 at most
    /// [`MAX_BYTES`](Self::MAX_BYTES), so a buffer of these is never full without a result.
    ///
    /// The choices that the specification leaves: of a `LOCAL` header, all but its length is
    /// ignored, its TLVs too. `UNKNOWN` and UNSPEC are accepted, as [`ProxyAddresses::Unknown`];
    /// what follows UNSPEC is taken as TLVs, since that family has no addresses, and ignored if it
    /// is something else. Only the seven pairs of a family and a transport that section 2.2 lists
    /// are accepted, and datagrams are treated as streams. An `UNKNOWN` line may hold anything but
    /// a lone CR or LF, which section 2.1 does not want tolerated.
    ///
    /// ```
    /// # fn main() -> Result<(), greeter_core::ProxyHeaderError> {
    /// let bytes = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nBob\n";
    ///
    /// assert_eq!(greeter_core::ProxyHeader::parse(&bytes[..30])?, None);
    ///
    /// let (header, length) = greeter_core::ProxyHeader::parse(bytes)?.expect("it is complete");
    /// let proxy = ([198, 51, 100, 7], 40000).into();
    /// assert_eq!(header.addresses.client(proxy).to_string(), "192.0.2.1:56324");
    /// assert_eq!(&bytes[length..], b"Bob\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If no bytes to come could make a header of these. That is found at the first byte that is
    /// wrong, in version 2 also at a length that cannot be right. Two things are found later: that
    /// a line cannot end within its 107 bytes, at the 107th, and a wrong checksum, at the end of
    /// the header.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        match bytes.first() {
            None => Ok(None),
            Some(b'P') => parse_v1(bytes),
            Some(_) => parse_v2(bytes),
        }
    }
}

impl ProxyAddresses {
    /// Returns the address of the client. `socket` is the address that the proxy connects from,
    /// which is the client's own if there is no other client.
    ///
    /// Where the client's address is unknown, the specification would have that of the socket in
    /// its place. That is the proxy's, and no client's: here it is [`Address::Unknown`].
    #[must_use]
    pub const fn client(self, socket: Address) -> Address {
        match self {
            Self::Local => socket,
            Self::Unknown => Address::Unknown,
            Self::Inet { source, .. } => Address::Inet(source),
        }
    }

    fn inet(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let address = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
        Self::Inet { source: address(source), destination: address(destination) }
    }
}

impl ProxyTlvs {
    /// Returns the type and the value of each field, without those that only fill space
    /// (PP2_TYPE_NOOP). A checksum is among them, and was right.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> + Clone {
        tlvs(&self.0).filter(|(kind, _)| *kind != TLV_NOOP)
    }

    /// Returns the value of the first field of this type.
    ///
    /// Types from 0xE0 to 0xEF are the applications' own. Amazon's VPC endpoint id is in 0xEA,
    /// Azure's link id in 0xEE.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        self.iter().find(|tlv| tlv.0 == kind).map(|tlv| tlv.1)
    }

    /// Returns the application protocol that the client and the proxy have agreed upon, as in TLS
    /// (PP2_TYPE_ALPN, section 2.2.1).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.get(TLV_ALPN)
    }

    /// Returns the name of the host that the client asked for, as in TLS (PP2_TYPE_AUTHORITY,
    /// section 2.2.2). It should be UTF-8, which is not checked.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        self.get(TLV_AUTHORITY)
    }

    /// Returns what the proxy tells of TLS, if it does.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Peer;
    ///
    /// /// Who the proxy says that the client is.
    /// fn common_name(peer: &Peer) -> Option<&[u8]> {
    ///     let tls = peer.origin.as_ref()?.proxy.as_ref()?.tlvs.tls()?;
    ///     tls.common_name.filter(|_| tls.is_verified)
    /// }
    /// ```
    #[must_use]
    pub fn tls(&self) -> Option<ProxyTls<'_>> {
        let (&[flags, verify @ ..], rest) = self.get(TLV_TLS)?.split_first_chunk::<5>()?;
        let get = |kind| tlvs(rest).find(|tlv| tlv.0 == kind).map(|tlv| tlv.1);
        Some(ProxyTls {
            is_spoken: flags & TLS_IS_SPOKEN != 0,
            is_verified: flags & TLS_HAS_CERTIFICATE != 0 && verify == [0; 4],
            version: get(TLS_TLV_VERSION),
            common_name: get(TLS_TLV_COMMON_NAME),
        })
    }

    /// Returns the id under which the proxy logs the connection: at most 128 bytes
    /// (PP2_TYPE_UNIQUE_ID, section 2.2.5).
    #[must_use]
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.get(TLV_UNIQUE_ID)
    }
}

/// It shows names as they are written in bytes, so that it can be shown.
impl fmt::Debug for ProxyTls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: Option<&[u8]>| name.map(|name| name.escape_ascii().to_string());
        f.debug_struct("ProxyTls")
            .field("is_spoken", &self.is_spoken)
            .field("is_verified", &self.is_verified)
            .field("version", &name(self.version))
            .field("common_name", &name(self.common_name))
            .finish()
    }
}

impl fmt::Debug for ProxyTlvs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (kind, value) in self.iter() {
            map.entry(&kind, &format_args!("{} bytes", value.len()));
        }
        map.finish()
    }
}

/// Returns what follows `start`, or `None` if the bytes are too few to tell.
fn behind<'a>(bytes: &'a [u8], start: &[u8], error: ProxyHeaderError) -> Result<Option<&'a [u8]>, ProxyHeaderError> {
    let alike = bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if alike { Ok(bytes.get(start.len()..)) } else { Err(error) }
}

// Version 1: a line.

fn parse_v1(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let line = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    match parse_line(line)? {
        Some((addresses, rest)) => {
            let header = ProxyHeader { addresses, tlvs: ProxyTlvs::default() };
            Ok(Some((header, line.len() - rest.len())))
        }
        None if line.len() == MAX_V1_BYTES => Err(ProxyHeaderError::LineTooLong),
        None => Ok(None),
    }
}

/// Returns what a line says, and what follows it.
fn parse_line(bytes: &[u8]) -> Result<Option<(ProxyAddresses, &[u8])>, ProxyHeaderError> {
    let Some(bytes) = behind(bytes, V1_START, ProxyHeaderError::NoHeader)? else { return Ok(None) };
    let error = ProxyHeaderError::UnknownProtocol;
    let protocols = [b"TCP4 ".as_slice(), b"TCP6 ", b"UNKNOWN"].map(|protocol| behind(bytes, protocol, error));
    match protocols {
        [Ok(Some(rest)), ..] => parse_endpoints::<Ipv4Addr>(rest),
        [_, Ok(Some(rest)), _] => parse_endpoints::<Ipv6Addr>(rest),
        [.., Ok(Some(rest))] => Ok(behind_anything(rest)?.map(|rest| (ProxyAddresses::Unknown, rest))),
        [Err(_), Err(_), Err(_)] => Err(error),
        _ => Ok(None),
    }
}

/// Returns what follows the line, whatever stands in what is left of it.
fn behind_anything(bytes: &[u8]) -> Result<Option<&[u8]>, ProxyHeaderError> {
    match memchr2(b'\r', b'\n', bytes) {
        Some(end) => behind(&bytes[end..], b"\r\n", ProxyHeaderError::InvalidLineEnding),
        None => Ok(None),
    }
}

fn parse_endpoints<A: Field + Into<IpAddr>>(
    mut bytes: &[u8],
) -> Result<Option<(ProxyAddresses, &[u8])>, ProxyHeaderError> {
    let Some(source) = next_field::<A>(&mut bytes, b' ')? else { return Ok(None) };
    let Some(destination) = next_field::<A>(&mut bytes, b' ')? else { return Ok(None) };
    let Some(source_port) = next_field(&mut bytes, b' ')? else { return Ok(None) };
    let Some(destination_port) = next_field(&mut bytes, b'\r')? else { return Ok(None) };
    let addresses = ProxyAddresses::inet((source.into(), source_port), (destination.into(), destination_port));
    let rest = behind(bytes, b"\n", ProxyHeaderError::InvalidLineEnding)?;
    Ok(rest.map(|rest| (addresses, rest)))
}

/// Parses the bytes up to `end`, and goes on behind it.
fn next_field<F: Field>(bytes: &mut &[u8], end: u8) -> Result<Option<F>, ProxyHeaderError> {
    let length = memchr(end, bytes);
    let text = str::from_utf8(&bytes[..length.unwrap_or(bytes.len())]).map_err(|_| F::ERROR)?;
    match length {
        Some(length) => {
            *bytes = &bytes[length + 1..];
            F::parse(text).map(Some).ok_or(F::ERROR)
        }
        None if F::is_start(text) => Ok(None),
        None => Err(F::ERROR),
    }
}

/// What stands between two spaces.
trait Field: Sized {
    const ERROR: ProxyHeaderError;

    fn parse(text: &str) -> Option<Self>;

    /// Returns whether more text can make a field of it.
    fn is_start(text: &str) -> bool;
}

impl Field for Ipv4Addr {
    const ERROR: ProxyHeaderError = ProxyHeaderError::InvalidAddress;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn is_start(text: &str) -> bool {
        // Whatever the last number is that has begun, it can stay as it is.
        ["", "0", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"].iter().any(|end| joins::<Self>(text, end))
    }
}

impl Field for Ipv6Addr {
    const ERROR: ProxyHeaderError = ProxyHeaderError::InvalidAddress;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn is_start(text: &str) -> bool {
        // A group that has begun can stay as it is, and `::` may stand for all that is missing.
        // What has begun as IPv4 must end so.
        ["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0"].iter().any(|end| joins::<Self>(text, end))
    }
}

/// Returns whether a text and an end of it are a field.
fn joins<F: Field>(text: &str, end: &str) -> bool {
    F::parse(&[text, end].concat()).is_some()
}

impl Field for u16 {
    const ERROR: ProxyHeaderError = ProxyHeaderError::InvalidPort;

    fn parse(text: &str) -> Option<Self> {
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        let has_leading_zero = text.len() > 1 && text.starts_with('0');
        if is_decimal && !has_leading_zero { text.parse().ok() } else { None }
    }

    fn is_start(text: &str) -> bool {
        text.is_empty() || Self::parse(text).is_some()
    }
}

// Version 2: binary.

fn parse_v2(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let Some(fixed) = behind(bytes, V2_SIGNATURE, ProxyHeaderError::NoHeader)? else { return Ok(None) };
    let Some(command) = fixed.first().copied().map(ProxyCommand::of).transpose()? else { return Ok(None) };
    let Some(&family) = fixed.get(1) else { return Ok(None) };
    let content = match command {
        ProxyCommand::Local => Content::Ignored,
        ProxyCommand::Proxy => Content::of(family)?,
    };
    let Some(&high) = fixed.get(2) else { return Ok(None) };
    let low = fixed.get(3).copied();
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low.unwrap_or(0)]));
    if length > ProxyHeader::MAX_BYTES {
        return Err(ProxyHeaderError::HeaderTooLong);
    }
    if low.is_none() {
        return Ok(None);
    }
    content.check(&bytes[V2_FIXED_BYTES..bytes.len().min(length)], length - V2_FIXED_BYTES)?;
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let (addresses, tlvs_at) = content.read(whole)?;
    check_checksum(whole, tlvs_at)?;
    Ok(Some((ProxyHeader { addresses, tlvs: ProxyTlvs(whole[tlvs_at..].into()) }, length)))
}

enum ProxyCommand {
    Local,
    Proxy,
}

impl ProxyCommand {
    const fn of(byte: u8) -> Result<Self, ProxyHeaderError> {
        match byte {
            0x20 => Ok(Self::Local),
            0x21 => Ok(Self::Proxy),
            0x22..=0x2F => Err(ProxyHeaderError::UnknownCommand),
            _ => Err(ProxyHeaderError::UnknownVersion),
        }
    }
}

/// What stands behind the fixed part.
enum Content {
    Ignored,
    /// TLVs, or something that only the sender knows.
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

impl Content {
    const fn of(family: u8) -> Result<Self, ProxyHeaderError> {
        match family {
            0x00 => Ok(Self::Unspecified),
            0x11 | 0x12 => Ok(Self::Inet),
            0x21 | 0x22 => Ok(Self::Inet6),
            0x31 | 0x32 => Ok(Self::Unix),
            _ => Err(ProxyHeaderError::UnknownFamily),
        }
    }

    /// Checks as much of it as there is; all of it will be `length` bytes.
    fn check(&self, bytes: &[u8], length: usize) -> Result<(), ProxyHeaderError> {
        let address_bytes = match self {
            Self::Ignored | Self::Unspecified => return Ok(()),
            Self::Inet => 2 * 4 + 2 * 2,
            Self::Inet6 => 2 * 16 + 2 * 2,
            Self::Unix => 2 * 108,
        };
        let tlv_bytes = length.checked_sub(address_bytes).ok_or(ProxyHeaderError::HeaderTooShort)?;
        check_tlvs(bytes.get(address_bytes..).unwrap_or_default(), tlv_bytes)
    }

    /// Returns the addresses in a whole header, and where its TLVs begin.
    fn read(&self, whole: &[u8]) -> Result<(ProxyAddresses, usize), ProxyHeaderError> {
        let block = &whole[V2_FIXED_BYTES..];
        let (addresses, rest) = match self {
            Self::Ignored => Some((ProxyAddresses::Local, &[][..])),
            Self::Unspecified => {
                let are_tlvs = check_tlvs(block, block.len()).is_ok();
                Some((ProxyAddresses::Unknown, if are_tlvs { block } else { &[] }))
            }
            Self::Inet => split_endpoints::<4>(block),
            Self::Inet6 => split_endpoints::<16>(block),
            Self::Unix => block.split_at_checked(2 * 108).map(|(_, rest)| (ProxyAddresses::Unknown, rest)),
        }
        .ok_or(ProxyHeaderError::HeaderTooShort)?;
        Ok((addresses, whole.len() - rest.len()))
    }
}

/// Splits off two addresses of `N` bytes, and their ports.
fn split_endpoints<const N: usize>(block: &[u8]) -> Option<(ProxyAddresses, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, rest) = rest.split_first_chunk()?;
    let source = (IpAddr::from(*source), u16::from_be_bytes(*source_port));
    let destination = (IpAddr::from(*destination), u16::from_be_bytes(*destination_port));
    Some((ProxyAddresses::inet(source, destination), rest))
}

/// Checks TLVs, or as much of them as there is; all of them will be `length` bytes.
fn check_tlvs(mut bytes: &[u8], mut length: usize) -> Result<(), ProxyHeaderError> {
    while length > 0 {
        let most = length.checked_sub(TLV_START_BYTES).ok_or(ProxyHeaderError::InvalidTlv)?;
        let Some(&kind) = bytes.first() else { break };
        let allowed = value_lengths(kind);
        let (high, low) = (bytes.get(1), bytes.get(2));
        // What is not there yet may be anything.
        let with = |missing: &u8| usize::from(u16::from_be_bytes([*high.unwrap_or(missing), *low.unwrap_or(missing)]));
        if with(&0).max(*allowed.start()) > with(&0xFF).min(*allowed.end()).min(most) {
            return Err(ProxyHeaderError::InvalidTlv);
        }
        if low.is_none() {
            break;
        }
        length = most - with(&0);
        bytes = bytes.get(TLV_START_BYTES + with(&0)..).unwrap_or_default();
    }
    Ok(())
}

/// How many bytes the value of a TLV of this type may have.
const fn value_lengths(kind: u8) -> RangeInclusive<usize> {
    match kind {
        TLV_CRC32C => 4..=4,
        TLV_UNIQUE_ID => 0..=128,
        _ => 0..=usize::MAX,
    }
}

/// Returns the types and values of TLVs, until one does not fit.
fn tlvs(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> + Clone {
    std::iter::from_fn(move || {
        let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        bytes = rest;
        Some((kind, value))
    })
}

/// Checks the checksum of a whole header, if it has one (section 2.2.3). A second would have to
/// hold with the first, and the first with it.
fn check_checksum(whole: &[u8], tlvs_at: usize) -> Result<(), ProxyHeaderError> {
    let mut at = tlvs_at;
    let mut checksum = None;
    for (kind, value) in tlvs(&whole[tlvs_at..]) {
        at += TLV_START_BYTES;
        if kind == TLV_CRC32C && checksum.replace((at, value)).is_some() {
            return Err(ProxyHeaderError::WrongChecksum);
        }
        at += value.len();
    }
    match checksum {
        Some((at, value)) if crc32c_without(whole, at).to_be_bytes() != value => Err(ProxyHeaderError::WrongChecksum),
        _ => Ok(()),
    }
}

/// Returns the CRC32C (RFC 9260, appendix A) of the bytes, with zeros for the four at a place.
fn crc32c_without(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.iter().enumerate().map(|(index, byte)| if (at..at + 4).contains(&index) { 0 } else { *byte });
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of RFC 3720, B.4, and the usual one.
    #[test]
    fn checksums_are_those_that_others_compute() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, expected) in [
            (&b"123456789"[..], 0xE306_9283),
            (&[0; 32], 0x8A91_36AA),
            (&[0xFF; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
        ] {
            assert_eq!(crc32c_without(bytes, bytes.len()), expected);
        }
        assert_eq!(crc32c_without(b"123456789\xFF\xFF\xFF\xFF", 9), crc32c_without(b"123456789\0\0\0\0", 20));
    }

    #[test]
    fn a_header_without_tlvs_holds_no_memory() {
        assert!(size_of::<ProxyHeader>() <= 88);
        assert_eq!(size_of_val(&*ProxyTlvs::default().0), 0);
    }
}
