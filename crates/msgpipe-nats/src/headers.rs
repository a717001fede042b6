//! What stands in the headers of a NATS message: of a request its method, time and metadata, of an error its parts.
//!
//! Values that may be any bytes are percent-encoded: letters, digits and `-._~` stand for themselves.

use async_nats::HeaderMap;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use bytes::Bytes;
use msgpipe::{ErrorReply, Metadata};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use std::time::Duration;

/// The number of the method, in decimal; absent for 0.
pub const METHOD: &str = "Msgpipe-Method";
/// The time that is left, in milliseconds.
pub const TIME: &str = "Msgpipe-Time-Ms";
/// A pair of the metadata, `KEY:VALUE`, both encoded; once for each pair, in order.
pub const METADATA: &str = "Msgpipe-Metadata";
/// The text of an error, encoded.
pub const TEXT: &str = "Msgpipe-Error-Text";
/// The details of an error, encoded.
pub const DETAILS: &str = "Msgpipe-Error-Details";
/// `no`, if the request of the error was certainly not begun.
pub const BEGUN: &str = "Msgpipe-Begun";

/// The characters of `Nats-Service-Error`, which is for tools and people; the whole text has its own header.
const SHORT: usize = 200;

const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, &PLAIN).to_string()
}

fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// What a request has beside its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub method: u32,
    /// `None`: the sender is no client of this crate and did not say.
    pub time: Option<Duration>,
    pub metadata: Metadata,
}

/// A key that begins with a byte 0 belongs to msgpipe's own protocol, between two processes of one machine.
fn is_of_protocol(key: &[u8]) -> bool {
    key.first() == Some(&0)
}

pub fn of_request(terms: &Terms) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if terms.method != 0 {
        headers.insert(METHOD, terms.method.to_string());
    }
    if let Some(time) = terms.time {
        // Rounded up: 0 would be no time at all.
        headers.insert(TIME, time.as_micros().div_ceil(1000).max(1).to_string());
    }
    for (key, value) in terms.metadata.pairs().filter(|(key, _)| !is_of_protocol(key)) {
        headers.append(METADATA, format!("{}:{}", encode(&key), encode(&value)));
    }
    headers
}

/// # Errors
/// The header that cannot be read.
pub fn terms_of(headers: Option<&HeaderMap>) -> Result<Terms, &'static str> {
    let mut terms = Terms { method: 0, time: None, metadata: Metadata::default() };
    let Some(headers) = headers else { return Ok(terms) };
    if let Some(method) = headers.get(METHOD) {
        terms.method = method.as_str().parse().map_err(|_| METHOD)?;
    }
    if let Some(time) = headers.get(TIME) {
        terms.time = Some(Duration::from_millis(time.as_str().parse().map_err(|_| TIME)?));
    }
    for pair in headers.get_all(METADATA) {
        let (key, value) = pair.as_str().split_once(':').ok_or(METADATA)?;
        let (key, value) = (decode(key), decode(value));
        if !is_of_protocol(&key) {
            terms.metadata = terms.metadata.with(&key, &value).map_err(|_| METADATA)?;
        }
    }
    Ok(terms)
}

/// The headers of an error, beside those that async-nats sets itself.
pub fn of_error(reply: &ErrorReply, not_begun: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TEXT, encode(reply.text.as_bytes()));
    if !reply.details.is_empty() {
        headers.insert(DETAILS, encode(&reply.details));
    }
    if not_begun {
        headers.insert(BEGUN, "no");
    }
    headers
}

/// The error as tools show it: one line, not long.
pub fn short(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).take(SHORT).collect()
}

/// The error in a reply and whether the request was not begun; `None`: it is no error. A service that is none of this
/// crate's has no text of its own header.
pub fn error_of(headers: Option<&HeaderMap>) -> Option<(ErrorReply, bool)> {
    let headers = headers?;
    let short = headers.get(NATS_SERVICE_ERROR);
    let code = headers.get(NATS_SERVICE_ERROR_CODE);
    if short.is_none() && code.is_none() {
        return None;
    }
    let code = code.and_then(|code| code.as_str().parse().ok()).unwrap_or(ErrorReply::FAILED);
    let text = match headers.get(TEXT) {
        Some(text) => String::from_utf8_lossy(&decode(text.as_str())).into_owned(),
        None => short.map_or_else(String::new, |text| text.as_str().to_owned()),
    };
    let details = headers.get(DETAILS).map(|it| Bytes::from(decode(it.as_str())));
    let reply = ErrorReply::new(code, text).with_details(details.unwrap_or_default());
    Some((reply, headers.get(BEGUN).is_some_and(|begun| begun.as_str() == "no")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        let metadata = Metadata::default().with(&all[1..], &all).unwrap().with(b"a", b"").unwrap();
        let metadata = metadata.with(b"a", b"again").unwrap();
        let time = Some(Duration::from_millis(1500));
        let terms = Terms { method: u32::MAX, time, metadata };
        assert_eq!(terms_of(Some(&of_request(&terms))), Ok(terms));

        let reply = ErrorReply::new(404, "no\r\nsuch: nöte").with_details(all);
        let mut headers = of_error(&reply, true);
        headers.insert(NATS_SERVICE_ERROR, short(&reply.text));
        headers.insert(NATS_SERVICE_ERROR_CODE, "404");
        assert_eq!(error_of(Some(&headers)), Some((reply, true)));
    }

    #[test]
    fn no_time_is_rounded_to_none() {
        for (micros, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let time = Some(Duration::from_micros(micros));
            let headers = of_request(&Terms { method: 0, time, metadata: Metadata::default() });
            assert_eq!(headers.get(TIME).unwrap().as_str(), header);
        }
    }

    #[test]
    fn the_protocols_own_keys_stay_on_their_machine() {
        let metadata = Metadata::default().with(b"\0nested", b"1").unwrap();
        let headers = of_request(&Terms { method: 0, time: None, metadata });
        assert!(headers.get(METADATA).is_none());
        let mut forged = HeaderMap::new();
        forged.append(METADATA, "%00nested:1");
        assert!(terms_of(Some(&forged)).unwrap().metadata.is_empty());
    }

    #[test]
    fn a_header_that_cannot_be_read_is_named() {
        let cases = [
            (METHOD, "x"),
            (METHOD, "4294967296"),
            (TIME, "-1"),
            (METADATA, "no colon"),
            (METADATA, ":no key"),
        ];
        for (name, value) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            assert_eq!(terms_of(Some(&headers)), Err(name), "{value}");
        }
        let long = format!("{}:{}", "k".repeat(255), "v".repeat(4096));
        let mut headers = HeaderMap::new();
        headers.insert(METADATA, long.as_str());
        assert_eq!(terms_of(Some(&headers)), Err(METADATA));
    }

    #[test]
    fn an_error_of_another_service_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SERVICE_ERROR, "not found");
        headers.insert(NATS_SERVICE_ERROR_CODE, "70000");
        let expected = ErrorReply::new(ErrorReply::FAILED, "not found");
        assert_eq!(error_of(Some(&headers)), Some((expected, false)));
        assert_eq!(error_of(Some(&HeaderMap::new())), None);
    }
}
