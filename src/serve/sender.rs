//! Who may ask: programs and pages of this machine, and nobody else.
//!
//! A page of another site must not reach the model through the user's browser. So the server listens on loopback addresses
//! only, answers to loopback names only (a name of another host that resolves to this machine is refused: DNS rebinding),
//! takes JSON bodies only (a form of another site cannot send one unasked), and refuses other origins.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::ServeError;
use crate::text::escape_controls;

/// Whether an address reaches this machine alone.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// # Errors
/// 400 without one host, 403 for a host or an origin that is not of this machine.
pub(super) fn check_sender(uri: &Uri, headers: &HeaderMap) -> Result<(), ServeError> {
    let shown = |value: &HeaderValue| {
        let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(80).collect();
        escape_controls(&text)
    };
    let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else {
        return Err(ServeError::new(
            400,
            "expected one Host header, like Host: 127.0.0.1:8080",
        ));
    };
    let named = host.to_str().ok().filter(|host| names_loopback(host));
    let in_uri = uri
        .authority()
        .is_none_or(|authority| names_loopback(authority.as_str()));
    if named.is_none() || !in_uri {
        let message = format!(
            "the host '{}' is not this machine's loopback address: ask 127.0.0.1, localhost or [::1]",
            shown(host)
        );
        return Err(ServeError::new(403, message));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if !own.is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && names_loopback(host)) {
            let message = format!(
                "the origin '{}' may not use this server: only programs and pages of this machine may",
                shown(origin)
            );
            return Err(ServeError::new(403, message));
        }
    }
    Ok(())
}

/// Whether `host` or `host:port` is a loopback address or `localhost`.
fn names_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_by_few_names() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.8.9.1:1",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(names_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "0.0.0.0",
            "[::]",
            "192.168.0.1:8080",
            "localhost@evil.example",
            "evil.example:80@localhost",
            "2130706433",
            "127.0.0.1:80:80",
            "localhost/",
            "::",
        ] {
            assert!(!names_loopback(host), "{host}");
        }
    }

    #[test]
    fn other_hosts_and_origins_are_refused() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            check_sender(&Uri::from_static("/health"), &headers).map_err(|e| e.status)
        };
        assert_eq!(check(&[("host", "127.0.0.1:1")]), Ok(()));
        assert_eq!(
            check(&[("host", "localhost"), ("origin", "http://localhost:3000")]),
            Ok(())
        );
        assert_eq!(check(&[]), Err(400));
        assert_eq!(check(&[("host", "localhost"), ("host", "evil.example")]), Err(400));
        assert_eq!(check(&[("host", "evil.example")]), Err(403));
        for origin in [
            "null",
            "https://evil.example",
            "file://",
            "http://localhost.evil.example",
            "localhost",
            "",
        ] {
            assert_eq!(
                check(&[("host", "localhost"), ("origin", origin)]),
                Err(403),
                "{origin}"
            );
        }
        let absolute = Uri::from_static("http://evil.example/health");
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        assert_eq!(check_sender(&absolute, &headers).unwrap_err().status, 403);
    }
}
