//! Parses bytes as a PROXY header, as a whole and cut at every place, and compares with what the
//! crate `proxy-header` makes of them. A test and a fuzzer call it.

use greeter_core::{ProxyAddresses, ProxyHeader, ProxyHeaderError};
use proxy_header::{Error, ParseConfig, ProxyHeader as Other};

pub(crate) type Parsed = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

/// Parses the bytes. Asserts that every part of them from the start on is parsed as bytes that come
/// one after the other must be: as incomplete, until the result is certain and does not change any
/// more.
#[track_caller]
pub(crate) fn parse_cut_anywhere(bytes: &[u8]) -> Parsed {
    let whole = ProxyHeader::parse(bytes);
    let mut result = Ok(None);
    for end in cuts(bytes.len()) {
        let now = ProxyHeader::parse(&bytes[..end]);
        assert!(result == Ok(None) || now == result, "{result:?} becomes {now:?} with byte {end}");
        if let (Ok(None), Ok(Some((_, length)))) = (&result, &now) {
            assert!(*length == end || end > DENSE && *length < end, "found at {end} instead of {length}");
        }
        result = now;
    }
    assert_eq!(whole, result);
    whole
}

/// Up to here, bytes are cut everywhere, and further on now and then.
const DENSE: usize = 300;

fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let sparse = (DENSE + 1..length).step_by(97).chain([length.saturating_sub(1), length]);
    (0..=length.min(DENSE)).chain(sparse.filter(move |cut| *cut > DENSE))
}

/// Asserts that both parsers agree, but for what is known.
#[track_caller]
pub(crate) fn holds(input: &[u8]) {
    let ours = parse_cut_anywhere(input);
    assert!(ours != Ok(None) || input.len() < 4096, "a full buffer without a result");
    match (&ours, Other::parse(input, ParseConfig::default())) {
        (Ok(Some((header, length))), Ok((other, other_length))) => {
            assert_eq!(*length, other_length);
            compare(header, &other, &input[..*length]);
        }
        (Ok(None), Err(Error::BufferTooShort)) | (Err(_), Err(Error::Invalid)) => {}
        // It looks at most things only when all is there. That we are not too early shows where all
        // is there.
        (Err(_), Err(Error::BufferTooShort)) => {}
        (Err(error), Ok(_)) => assert!(is_lenient(*error, input), "only we find {error}"),
        // It parses LOCAL as if it were PROXY, and waits for addresses beyond the header's end. The
        // specification has the family ignored.
        (Ok(Some((header, _))), Err(_)) => assert_eq!(header.addresses, ProxyAddresses::Local),
        (ours, theirs) => panic!("we find {ours:?}, they {theirs:?}"),
    }
}

/// Asserts that two headers say the same.
#[track_caller]
fn compare(ours: &ProxyHeader, theirs: &Other<'_>, bytes: &[u8]) {
    match (ours.addresses, theirs.proxied_address()) {
        (ProxyAddresses::Inet { source, destination }, Some(other)) => {
            // It keeps IPv4 addresses as IPv6 if they came so.
            let ips = [other.source, other.destination].map(|address| (address.ip().to_canonical(), address.port()));
            assert_eq!([source, destination].map(|address| (address.ip(), address.port())), ips);
        }
        // It does not tell LOCAL from a client whose address is unknown.
        (ProxyAddresses::Local, None) => assert_eq!(bytes[12], 0x20),
        (ProxyAddresses::Unknown, None) => assert!(bytes.starts_with(b"PROXY UNKNOWN") || bytes[12] == 0x21),
        (ours, theirs) => panic!("we find {ours:?}, they {theirs:?}"),
    }
    // It has the TLVs of LOCAL, and those in front of one that does not fit behind UNSPEC.
    let is_unspecified = bytes[0] == b'\r' && bytes[13] == 0;
    if ours.addresses == ProxyAddresses::Local || is_unspecified && ours.tlvs.iter().next().is_none() {
        return;
    }
    let theirs: Vec<_> = theirs.tlvs().filter(|tlv| !matches!(tlv, Ok(proxy_header::Tlv::Noop(_)))).collect();
    let ours: Vec<_> = ours.tlvs.iter().collect();
    assert_eq!(ours.len(), theirs.len());
    for ((kind, value), theirs) in ours.into_iter().zip(theirs) {
        // It wants text to be UTF-8, and looks into what is said about TLS.
        let Ok(theirs) = theirs else { continue };
        let mut encoded = Vec::new();
        theirs.encode(&mut encoded);
        assert_eq!((kind, value), (encoded[0], &encoded[3..]));
    }
}

/// Returns whether the input is one of those that it accepts against the specification.
fn is_lenient(error: ProxyHeaderError, input: &[u8]) -> bool {
    let line = input.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut ports = line.rsplit(|&byte| byte == b' ').take(2);
    match error {
        // The byte behind PROXY is any.
        ProxyHeaderError::NoHeader => input.starts_with(b"PROXY") && input[5] != b' ',
        // Only lines without an end are too long.
        ProxyHeaderError::LineTooLong => line.len() + 2 > 107,
        // They may have a sign or leading zeros.
        ProxyHeaderError::InvalidPort => {
            ports.any(|port| port.starts_with(b"+") || port.starts_with(b"0") && port.len() > 1)
        }
        // An LF may stand alone in what is ignored.
        ProxyHeaderError::InvalidLineEnding => line.contains(&b'\n'),
        ProxyHeaderError::HeaderTooLong => u16::from_be_bytes([input[14], input[15]]) > 4080,
        // TLVs are looked at when they are asked for, but for their checksum.
        ProxyHeaderError::InvalidTlv => has_invalid_tlv(input),
        ProxyHeaderError::WrongChecksum => has_wrong_checksum(input),
        _ => false,
    }
}

/// The bytes of the TLVs, of a whole header that has any.
fn tlv_block(input: &[u8]) -> &[u8] {
    let end = 16 + usize::from(u16::from_be_bytes([input[14], input[15]]));
    let start = match input[13] >> 4 {
        1 => 16 + 12,
        2 => 16 + 36,
        3 => 16 + 216,
        _ => 16,
    };
    &input[start..end]
}

/// A TLV with its offset: the offset, the type and the value.
type TlvAt<'a> = (usize, u8, &'a [u8]);

/// Returns the TLVs up to one that does not fit, and whether nothing is left over.
fn naive_tlvs(block: &[u8]) -> (Vec<TlvAt<'_>>, bool) {
    let (mut at, mut found) = (0, Vec::new());
    while at + 3 <= block.len() {
        let end = at + 3 + (usize::from(block[at + 1]) << 8) + usize::from(block[at + 2]);
        if end > block.len() {
            break;
        }
        found.push((at, block[at], &block[at + 3..end]));
        at = end;
    }
    (found, at == block.len())
}

fn has_invalid_tlv(input: &[u8]) -> bool {
    let (found, fit) = naive_tlvs(tlv_block(input));
    !fit || found.iter().any(|(_, kind, value)| *kind == 3 && value.len() != 4 || *kind == 5 && value.len() > 128)
}

fn has_wrong_checksum(input: &[u8]) -> bool {
    let block = tlv_block(input);
    let (found, _) = naive_tlvs(block);
    let checksums: Vec<_> = found.into_iter().filter(|tlv| tlv.1 == 3).collect();
    let [(at, _, value)] = checksums[..] else { return checksums.len() > 1 };
    let start = block.as_ptr() as usize - input.as_ptr() as usize;
    let end = start + block.len();
    let zeroed = [&input[..start + at + 3], &[0; 4], &input[start + at + 7..end]].concat();
    crc32c(&zeroed).to_be_bytes() != value
}

/// The remainder of a division of polynomials over two elements, bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1))) {
        let is_odd = (register ^ bit) & 1 == 1;
        register >>= 1;
        if is_odd {
            register ^= 0x82F6_3B78;
        }
    }
    !register
}
