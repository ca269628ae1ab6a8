//! Where a node is reached: `http://HOST:PORT`.

use std::fmt;
use std::sync::Arc;

/// A checked URL of a node. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    url: Arc<str>,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a node's URL: {1}")]
pub struct AddressError(String, &'static str);

impl Address {
    /// Accepts `http://HOST:PORT`, with or without a trailing slash, and `HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError(text.to_owned(), why);
        if text.starts_with("https://") {
            return Err(wrong(
                "TLS is not available yet; use http:// on a loopback host",
            ));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority
            .rsplit_once(':')
            .ok_or_else(|| wrong("expected http://HOST:PORT"))?;
        let port = port
            .parse()
            .map_err(|_| wrong("the port is a number from 0 to 65535"))?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let is_host = |c: char| {
            c.is_ascii_alphanumeric() || "-._".contains(c) || (bracketed && ":[]".contains(c))
        };
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong("expected http://HOST:PORT"));
        }
        Ok(Self {
            url: format!("http://{host}:{port}").into(),
            port,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or(&self.url)
    }

    pub fn host(&self) -> &str {
        self.authority()
            .rsplit_once(':')
            .map_or("", |(host, _)| host)
    }

    pub fn with_port(&self, port: u16) -> Self {
        Self {
            url: format!("http://{}:{port}", self.host()).into(),
            port,
        }
    }

    /// True for hosts that cannot be reached from another machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalised_and_wrong_ones_named() {
        assert_eq!(
            Address::parse("http://localhost:4000/").unwrap().url(),
            "http://localhost:4000"
        );
        assert_eq!(Address::parse("[::1]:7").unwrap().host(), "[::1]");
        for wrong in [
            "",
            "http://x",
            "http://:1",
            "http://a:70000",
            "https://a:1",
            "http://a b:1",
            "http://a/b:1",
        ] {
            assert!(
                Address::parse(wrong)
                    .unwrap_err()
                    .to_string()
                    .contains(wrong),
                "{wrong}"
            );
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (url, loopback) in [
            ("127.0.0.3:1", true),
            ("localhost:1", true),
            ("[::1]:1", true),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(
                Address::parse(url).unwrap().is_loopback(),
                loopback,
                "{url}"
            );
        }
    }
}
