//! STUN Binding (RFC 8489), the little of it that tells a peer what its media socket looks like from here, and that asks
//! the same of others. What belongs to a call carries a user name and goes to str0m; nothing here looks inside that.

use std::net::{IpAddr, SocketAddr};

use kith_core::probe::Report;

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const ATTRIBUTE_USERNAME: u16 = 0x0006;
const ATTRIBUTE_XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Of our own, from the range that others ignore (RFC 8489 section 18.3): in a question the probe's row and number, in an
/// answer the row, the highest number heard and the 64 bits of those before it.
const ATTRIBUTE_PROBE: u16 = 0xC4B1;
const PROBE: usize = 8;
const REPORT: usize = 16;
/// RFC 8489 section 14.3: a user name is shorter than this.
const MAX_USERNAME: usize = 509;

/// Names a request and its answer; 96 random bits.
pub type TransactionId = [u8; 12];

/// A Binding message, as far as routing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// With a user name: the connectivity check of a call.
    Request {
        id: TransactionId,
        username: Option<&'a [u8]>,
    },
    Success {
        id: TransactionId,
        mapped: Option<SocketAddr>,
    },
    /// Well formed, of another kind.
    Other,
}

/// Whether this datagram can only be STUN (RFC 7983: the first byte of a multiplexed packet).
pub fn is_stun(data: &[u8]) -> bool {
    data.len() >= HEADER && data[0] < 4 && data[4..8] == MAGIC_COOKIE
}

/// `None`: not a STUN message, or a damaged one.
pub fn parse(data: &[u8]) -> Option<Message<'_>> {
    if !is_stun(data) {
        return None;
    }
    let kind = u16::from_be_bytes([data[0], data[1]]);
    let length = usize::from(u16::from_be_bytes([data[2], data[3]]));
    if !length.is_multiple_of(4) || data.len() != HEADER + length {
        return None;
    }
    let id: TransactionId = data[8..HEADER].try_into().ok()?;
    match kind {
        BINDING_REQUEST => {
            let username = attribute(data, ATTRIBUTE_USERNAME)?;
            if username.is_some_and(|name| name.len() > MAX_USERNAME) {
                return None;
            }
            Some(Message::Request { id, username })
        }
        BINDING_SUCCESS => {
            let mapped = attribute(data, ATTRIBUTE_XOR_MAPPED_ADDRESS)?;
            Some(Message::Success { id, mapped: mapped.and_then(|value| unmask(value, &id)) })
        }
        _ => Some(Message::Other),
    }
}

/// The part of a check's user name that says for which session it is: `<ours>:<theirs>`.
pub fn our_fragment(username: &[u8]) -> Option<&[u8]> {
    let colon = username.iter().position(|byte| *byte == b':')?;
    Some(&username[..colon])
}

/// The value of the first attribute of this type; `None` when the attributes are damaged.
fn attribute(data: &[u8], wanted: u16) -> Option<Option<&[u8]>> {
    let mut rest = &data[HEADER..];
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = tail.get(..length)?;
        if kind == wanted {
            return Some(Some(value));
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    Some(None)
}

fn unmask(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, high, low], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ MAGIC_COOKIE[0], low ^ MAGIC_COOKIE[1]]);
    let mask = MAGIC_COOKIE.iter().chain(id);
    let ip = match family {
        1 => {
            let mut bytes: [u8; 4] = address.try_into().ok()?;
            bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
            IpAddr::from(bytes)
        }
        2 => {
            let mut bytes: [u8; 16] = address.try_into().ok()?;
            bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn header(kind: u16, length: u16, id: &TransactionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + usize::from(length));
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&MAGIC_COOKIE);
    out.extend_from_slice(id);
    out
}

/// The question: what do you see me at?
pub fn binding_request(id: &TransactionId) -> Vec<u8> {
    header(BINDING_REQUEST, 0, id)
}

/// The question with a number: has it arrived?
pub fn probe_request(id: &TransactionId, row: u32, number: u32) -> Vec<u8> {
    let mut out = binding_request(id);
    append(&mut out, &[row.to_be_bytes(), number.to_be_bytes()].concat());
    out
}

/// Row and number of a probe; `None`: a question without.
pub fn probe_number(data: &[u8]) -> Option<(u32, u32)> {
    let value: &[u8; PROBE] = attribute(data, ATTRIBUTE_PROBE)??.try_into().ok()?;
    let [a, b, c, d, e, f, g, h] = *value;
    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
}

/// The answer to a probe: at most 36 bytes longer than it.
pub fn probe_success(id: &TransactionId, seen_at: SocketAddr, row: u32, report: Report) -> Vec<u8> {
    let mut out = binding_success(id, seen_at);
    append(&mut out, &[&row.to_be_bytes()[..], &report.highest.to_be_bytes(), &report.mask.to_be_bytes()].concat());
    out
}

/// What an answer tells of a row of probes.
pub fn probe_report(data: &[u8]) -> Option<(u32, Report)> {
    let value: &[u8; REPORT] = attribute(data, ATTRIBUTE_PROBE)??.try_into().ok()?;
    let (head, mask) = value.split_first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *head;
    let report = Report { highest: u32::from_be_bytes([e, f, g, h]), mask: u64::from_be_bytes(mask.try_into().ok()?) };
    Some((u32::from_be_bytes([a, b, c, d]), report))
}

/// Adds a probe's attribute, whose values are whole words.
fn append(message: &mut Vec<u8>, value: &[u8]) {
    // At most `REPORT` bytes.
    let length = value.len() as u16;
    message.extend_from_slice(&ATTRIBUTE_PROBE.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(value);
    let all = (message.len() - HEADER) as u16;
    message[2..4].copy_from_slice(&all.to_be_bytes());
}

/// The answer: at most 24 bytes longer than the shortest question, so it is no amplifier.
pub fn binding_success(id: &TransactionId, seen_at: SocketAddr) -> Vec<u8> {
    let port = seen_at.port().to_be_bytes();
    let mask = MAGIC_COOKIE.iter().chain(id);
    let (family, ip) = match seen_at.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let length: u16 = if family == 1 { 8 } else { 20 };
    let mut out = header(BINDING_SUCCESS, 4 + length, id);
    out.extend_from_slice(&ATTRIBUTE_XOR_MAPPED_ADDRESS.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0, family, port[0] ^ MAGIC_COOKIE[0], port[1] ^ MAGIC_COOKIE[1]]);
    out.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn an_answer_says_what_was_seen_in_both_families() {
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = address.parse().expect("a valid address");
            let answer = binding_success(&ID, address);
            assert_eq!(parse(&answer), Some(Message::Success { id: ID, mapped: Some(address) }));
        }
        // The masked bytes of RFC 5769 section 2.2.
        assert_eq!(
            binding_success(&ID, "192.0.2.1:32853".parse().expect("valid"))[24..],
            [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]
        );
    }

    #[test]
    fn a_plain_question_has_no_user_and_a_check_has_one() {
        assert_eq!(parse(&binding_request(&ID)), Some(Message::Request { id: ID, username: None }));
        let mut check = header(BINDING_REQUEST, 12, &ID);
        check.extend_from_slice(&[0, 6, 0, 7]);
        check.extend_from_slice(b"abc:def\0");
        assert_eq!(parse(&check), Some(Message::Request { id: ID, username: Some(b"abc:def") }));
        assert_eq!(our_fragment(b"abc:def"), Some(&b"abc"[..]));
        assert_eq!(our_fragment(b"abcdef"), None);
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        let report = Report { highest: 7, mask: 5 };
        let whole = probe_success(&ID, "[2001:db8::1]:9".parse().expect("valid"), 3, report);
        assert_eq!(probe_report(&whole), Some((3, report)));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None);
        }
        let mut random = 0x9E37_79B9_u32;
        for round in 0..20_000_usize {
            let mut data = whole.clone();
            for _ in 0..4 {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                let at = random as usize % data.len();
                data[at] = (random >> 16) as u8;
            }
            data.truncate(data.len() - round % 9);
            let _ = parse(&data);
            if is_stun(&data) {
                let _ = (probe_number(&data), probe_report(&data));
            }
        }
    }
}
