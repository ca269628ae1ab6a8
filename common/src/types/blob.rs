//! URLs of blobs and the prefixes of them that applications grant, in one normal form for both.
//!
//! Promise: two URLs that lead to the same place are the same text, and what a prefix covers stays below it, whatever dots,
//! escapes, capitals and ports its URL was written with.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// A blob is reached in one of these ways.
const SCHEMES: [&str; 4] = ["file", "s3", "http", "https"];

/// A URL of a blob, or a prefix of such URLs: `file:///data/a`, `s3://bucket/data/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobUrl(Url);

impl BlobUrl {
    /// Reads a URL and makes it normal. Errors: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        check_scheme(&url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a blob's URL has no `?` and no `#`".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a blob's URL has no user name and no password".to_owned());
        }
        normal(url).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// The bucket or the host; none: this machine.
    pub fn host(&self) -> Option<&str> {
        self.0.host_str()
    }

    /// What all URLs of this bucket, host and port, or machine begin with.
    pub fn root(&self) -> &str {
        self.as_str().strip_suffix(self.path()).unwrap_or_default()
    }

    /// From the root on, with its `/` and with escapes.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Whether it is that of a directory, and not of a blob.
    pub fn is_directory(&self) -> bool {
        self.path().ends_with('/')
    }

    /// Whether a prefix in normal form covers it. A prefix ends where a part of the URL does: `file:///data` covers itself and
    /// `file:///data/a`, not `file:///database`.
    pub fn is_covered_by(&self, prefix: &str) -> bool {
        self.as_str()
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
    }
}

impl fmt::Display for BlobUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

fn check_scheme(url: &Url) -> Result<(), String> {
    let scheme = url.scheme();
    if !SCHEMES.contains(&scheme) {
        let known = SCHEMES.join(", ");
        return Err(format!(
            "`{scheme}` is none of the schemes of blobs: {known}"
        ));
    }
    match url.host_str() {
        Some(host) if scheme == "file" => Err(format!(
            "`{host}` is another machine: a file's URL has three slashes"
        )),
        None if scheme != "file" => Err(format!("`{scheme}://` needs a host or a bucket")),
        _ if scheme == "s3" && url.port().is_some() => Err("a bucket has no port".to_owned()),
        _ => Ok(()),
    }
}

/// The scheme and the host are normal when they are parsed, and there are no dots left. Escapes are left: each segment is
/// read and written anew, so that it has those which it needs and no other.
fn normal(mut url: Url) -> Result<Url, String> {
    let segments = url.path().strip_prefix('/').unwrap_or_default();
    let segments: Result<Vec<String>, String> = segments.split('/').map(segment).collect();
    let segments = segments?;
    let inner = segments.split_last().map_or(&[][..], |(_, inner)| inner);
    if inner.iter().any(String::is_empty) {
        return Err("a blob's URL has no `//` in its path".to_owned());
    }
    url.path_segments_mut()
        .map_err(|()| "it has no path".to_owned())?
        .clear()
        .extend(&segments);
    Ok(url)
}

fn segment(escaped: &str) -> Result<String, String> {
    let text = percent_decode_str(escaped).decode_utf8();
    let text = text.map_err(|_| format!("`{escaped}` is not UTF-8"))?;
    let is_forbidden = |c: char| c == '/' || c == '\\' || c.is_ascii_control();
    if text == "." || text == ".." || text.contains(is_forbidden) {
        return Err(format!("`{escaped}` is not the name of a blob"));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal_of(text: &str) -> String {
        BlobUrl::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_place_has_one_text() {
        for (text, normal) in [
            ("file:///data/../words", "file:///words"),
            ("file:///a/%2e%2E/./b", "file:///b"),
            ("file://localhost/a", "file:///a"),
            ("file:///a b/%c3%a4%41", "file:///a%20b/%C3%A4A"),
            ("FILE:///Data", "file:///Data"),
            ("HTTP://Example.COM:80/A", "http://example.com/A"),
            ("https://example.com:443", "https://example.com/"),
            ("http://example.com:8080/a/", "http://example.com:8080/a/"),
            ("http://0x7f.1/a", "http://127.0.0.1/a"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/a/../../b", "s3://bucket/b"),
            ("s3://bucket/100%25", "s3://bucket/100%25"),
            ("http://a/%252e%252e%252fb", "http://a/%252e%252e%252fb"),
        ] {
            assert_eq!(normal_of(text), normal, "{text}");
            assert_eq!(normal_of(normal), normal, "again");
        }
    }

    #[test]
    fn what_could_mean_several_places_is_refused() {
        for text in [
            "/data",
            "mailto:somebody",
            "ftp://host/a",
            "data:text/plain,a",
            "file://host/a",
            "s3:///a",
            "s3:bucket/a",
            "s3://bucket:9000/a",
            "http://user@host/a",
            "http://:secret@host/a",
            "http://host/a?b",
            "http://host/a#b",
            "http://host/a//b",
            "http://host//a",
            "http://host/a/..%2fb",
            "s3://bucket/a/..%2Fb",
            "s3://bucket/a/..\\b",
            "file:///a%00",
            "file:///a/%ff",
        ] {
            assert!(BlobUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_with_a_part() {
        let is_covered = |url: &str, prefix: &str| {
            BlobUrl::parse(url)
                .unwrap()
                .is_covered_by(&normal_of(prefix))
        };
        for (url, prefix) in [
            ("file:///data/a", "file:///data/"),
            ("file:///data/a", "file:///data"),
            ("file:///data", "file:///data"),
            ("file:///data/%61/b", "file:///data/a/"),
            ("http://HOST:80/a", "http://host"),
            ("s3://bucket/a", "s3://bucket"),
        ] {
            assert!(is_covered(url, prefix), "{url} {prefix}");
        }
        for (url, prefix) in [
            ("file:///database", "file:///data"),
            ("file:///data/../secret", "file:///data/"),
            ("file:///data", "file:///data/"),
            ("http://host.evil/a", "http://host"),
            ("http://host:8080/a", "http://host"),
            ("https://host/a", "http://host"),
            ("s3://bucket2/a", "s3://bucket"),
            ("s3://bucket/A", "s3://bucket/a"),
        ] {
            assert!(!is_covered(url, prefix), "{url} {prefix}");
        }
    }

    #[test]
    fn a_root_is_what_a_store_is_found_by() {
        for (url, root, path) in [
            ("http://host:8080/a/b", "http://host:8080", "/a/b"),
            ("s3://bucket/a%20b", "s3://bucket", "/a%20b"),
            ("file:///a", "file://", "/a"),
        ] {
            let url = BlobUrl::parse(url).unwrap();
            assert_eq!((url.root(), url.path()), (root, path));
        }
    }
}
