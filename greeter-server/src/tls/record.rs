//! Finds where a TLS record ends (RFC 8446, 5.1). Must not know what is in it.

use crate::tls::session::TlsProblem;

/// Type, version and length.
const HEADER_BYTES: usize = 5;

/// The most that a record carries, encrypted (RFC 8446, 5.2; RFC 5246, 6.2.3).
const MAX_PAYLOAD_BYTES: usize = (1 << 14) + 2048;

/// The longest record.
pub(crate) const MAX_RECORD_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// The most plaintext in a record.
pub(crate) const MAX_PLAINTEXT_BYTES: usize = 1 << 14;

/// Returns the length of the record that these bytes begin with, or `None` if they end before it
/// does. What can be no record is an error at the first byte that says so.
pub(crate) fn whole_record(bytes: &[u8]) -> Result<Option<usize>, TlsProblem> {
    // Change cipher spec, alert, handshake, application data; then the major version.
    let is_record = match bytes {
        [] => true,
        [kind] => (20..=23).contains(kind),
        [kind, version, ..] => (20..=23).contains(kind) && *version == 3,
    };
    if !is_record {
        return Err(TlsProblem::NotTls);
    }
    let &[_, _, _, high, low, ..] = bytes else { return Ok(None) };
    let payload = usize::from(u16::from_be_bytes([high, low]));
    if payload > MAX_PAYLOAD_BYTES {
        return Err(TlsProblem::NotTls);
    }
    let length = HEADER_BYTES + payload;
    Ok((bytes.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_ends_where_its_header_says() {
        let record = [&[22, 3, 1, 0, 3][..], b"abc"].concat();
        for end in 0..record.len() {
            assert_eq!(whole_record(&record[..end]), Ok(None));
        }
        assert_eq!(whole_record(&[&record[..], b"more"].concat()), Ok(Some(8)));
        assert_eq!(whole_record(&[23, 3, 3, 0x48, 0]), Ok(None));
        assert_eq!(whole_record(&[vec![23, 3, 3, 0x48, 0], vec![0; 0x4800]].concat()), Ok(Some(MAX_RECORD_BYTES)));
    }

    #[test]
    fn what_is_no_record_is_refused_at_the_first_byte_that_says_so() {
        for bytes in [&b"G"[..], &[19], &[24], &[22, 2], &[22, 4], &[23, 3, 3, 0x48, 1]] {
            assert_eq!(whole_record(bytes), Err(TlsProblem::NotTls), "{bytes:?}");
        }
    }
}
