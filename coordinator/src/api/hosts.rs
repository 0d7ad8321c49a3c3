//! Under which names the API may be asked. A page of a browser that was led here by a name of its own (DNS rebinding)
//! shows in `Host`, a page of another site in `Origin`.

use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The names that `Host` may have, beside those of loopback.
#[derive(Debug, Clone, Default)]
pub struct HostNames(Vec<String>);

impl HostNames {
    /// The configured names, each with a port or for all ports, and the address that is listened on when it is one.
    #[must_use]
    pub fn new(configured: &[String], listens_on: SocketAddr) -> HostNames {
        let mut names: Vec<String> = configured.iter().map(|name| name.to_ascii_lowercase()).collect();
        match listens_on.ip() {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) => names.push(ip.to_string()),
            IpAddr::V6(ip) => names.push(format!("[{ip}]")),
        }
        HostNames(names)
    }

    /// Why a request with these headers is refused, if it is.
    ///
    /// # Errors
    /// A sentence for the person.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), String> {
        let host = the_only(headers, HOST)?.ok_or_else(|| String::from("the request has no Host"))?;
        if !self.has(host) {
            return Err(format!("`{}` is no name of this API; api.hosts of its settings names others", shown(host)));
        }
        match the_only(headers, ORIGIN)? {
            None => Ok(()),
            Some(origin) if is_of(origin, host) => Ok(()),
            Some(origin) => Err(format!("pages of `{}` may not ask this API", shown(origin))),
        }
    }

    fn has(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let is_ours = |known: &String| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host);
        is_loopback(name) || self.0.iter().any(is_ours)
    }
}

/// Whether this host of a URL is this very machine, whatever a resolver says.
#[must_use]
pub fn is_loopback(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

/// `name:port` or `name`; an IPv6 address stands in brackets.
fn without_port(host: &str) -> Option<&str> {
    let name_end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(name_end);
    let is_port = |text: &str| text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_fit = !name.is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    is_fit.then_some(name)
}

/// Whether the page came from where it asks; a proxy in front may have spoken TLS with it.
fn is_of(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

fn the_only(headers: &HeaderMap, name: actix_web::http::header::HeaderName) -> Result<Option<&str>, String> {
    let mut values = headers.get_all(&name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("the request has {name} twice"));
    }
    first.to_str().map(Some).map_err(|_| format!("{name} of the request is no text"))
}

/// Enough of it for a person.
fn shown(value: &str) -> String {
    value.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn admit(names: &HostNames, host: Option<&str>, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
        }
        names.admit(&headers)
    }

    fn names() -> HostNames {
        let configured = ["skein.example".to_owned(), "other.example:8080".to_owned()];
        HostNames::new(&configured, "192.0.2.7:7717".parse().expect("an address"))
    }

    #[test]
    fn loopback_and_configured_names_are_taken_and_no_others() {
        for host in ["127.0.0.1", "127.0.0.1:7717", "127.9.9.9", "localhost:1", "LOCALHOST", "[::1]", "[::1]:7717"]
            .into_iter()
            .chain(["skein.example", "Skein.Example:99", "other.example:8080", "192.0.2.7", "192.0.2.7:7717"])
        {
            assert_eq!(admit(&names(), Some(host), None), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "other.example", "192.0.2.8"]
            .into_iter()
            .chain(["", ":7717", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:+1", "[::2]", "[::1", "[::1]x", "0.0.0.0"])
            .chain(["127.1", "2130706433", "0x7f.0.0.1", "localhost.", "user@127.0.0.1"])
        {
            assert!(admit(&names(), Some(host), None).is_err(), "{host}");
        }
        assert!(admit(&names(), None, None).is_err());
        let everywhere = HostNames::new(&[], "0.0.0.0:7717".parse().expect("an address"));
        assert!(admit(&everywhere, Some("0.0.0.0:7717"), None).is_err(), "an address to listen on is no name");
    }

    #[test]
    fn a_page_is_heard_when_it_came_from_here() {
        let host = Some("127.0.0.1:7717");
        for origin in ["http://127.0.0.1:7717", "https://127.0.0.1:7717"] {
            assert_eq!(admit(&names(), host, Some(origin)), Ok(()), "{origin}");
        }
        for origin in ["null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:8000", "127.0.0.1:7717", ""]
        {
            assert!(admit(&names(), host, Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("127.0.0.1"));
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(names().admit(&headers).is_err());
    }
}
