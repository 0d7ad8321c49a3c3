//! The address of an API, as a person names it.

use reqwest::Url;
use skein_coordinator::api::is_loopback;
use std::fmt;
use std::str::FromStr;

/// `http://host:port`, or with a path in front of the API's own where a proxy puts it below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(Url);

/// What a person gets who names something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("is no URL such as http://127.0.0.1:7717")]
    NoUrl,
    #[error("is https, which is not spoken yet: use http:// in a private network or through a tunnel such as `ssh -L`")]
    Https,
    #[error("has a user, a query or a fragment; a token comes from SKEIN_TOKEN or api.token_file")]
    TooMuch,
}

impl FromStr for ApiUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<ApiUrl, BadUrl> {
        let url = Url::parse(text.trim()).map_err(|_| BadUrl::NoUrl)?;
        match url.scheme() {
            "http" if url.has_host() => {}
            "https" => return Err(BadUrl::Https),
            _ => return Err(BadUrl::NoUrl),
        }
        let is_plain = url.username().is_empty() && url.password().is_none();
        if is_plain && url.query().is_none() && url.fragment().is_none() {
            Ok(ApiUrl(url))
        } else {
            Err(BadUrl::TooMuch)
        }
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl ApiUrl {
    /// The whole address of a call.
    #[must_use]
    pub fn call(&self, path: &str) -> String {
        format!("{self}/api/v1{path}")
    }

    /// Whether it is this very machine, so that its files are ours, too.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        self.0.host_str().is_some_and(is_loopback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_http_url() {
        for (text, shown) in [
            ("http://127.0.0.1:7717", "http://127.0.0.1:7717"),
            ("http://skein.example/", "http://skein.example"),
            (" http://proxy.example/skein/ ", "http://proxy.example/skein"),
            ("http://[::1]:7717", "http://[::1]:7717"),
        ] {
            let url: ApiUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.call("/runs"), format!("{shown}/api/v1/runs"));
        }
        for bad in ["", "127.0.0.1:7717", "localhost:7717", "ftp://x", "http://", "unix:/x"] {
            assert_eq!(bad.parse::<ApiUrl>(), Err(BadUrl::NoUrl), "{bad}");
        }
        assert_eq!("https://skein.example".parse::<ApiUrl>(), Err(BadUrl::Https));
        for bad in ["http://me:secret@host", "http://me@host", "http://host/?token=1", "http://host/#x"] {
            assert_eq!(bad.parse::<ApiUrl>(), Err(BadUrl::TooMuch), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_told_by_its_literals() {
        let is_ours = |text: &str| text.parse::<ApiUrl>().expect(text).is_of_this_machine();
        assert!(is_ours("http://127.0.0.1:1") && is_ours("http://localhost") && is_ours("http://[::1]:7"));
        assert!(!is_ours("http://192.0.2.1") && !is_ours("http://127.0.0.1.evil.example") && !is_ours("http://[::2]"));
    }
}
