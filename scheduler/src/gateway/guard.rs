//! Who may ask. Whoever is on this machine may do everything, as with gRPC; a web page that a browser on this machine has
//! open may not, and a browser says which page asks (Fetch standard, `Origin`) and whom it believes to ask (RFC 9110,
//! `Host`): under a name that has been made to point here (DNS rebinding), that is no name of this machine.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::fabric::Address;

use super::Gateway;
use super::problem::Problem;

/// A `Host` need not name the port.
const PORT_DEFAULT: &str = ":80";

pub async fn refuse_other_sites(_: State<Gateway>, request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let host = text(headers, &HOST);
    if host.is_some_and(|host| !is_of_this_machine(host)) {
        let why = "this is reached by an address of its own machine only";
        return Err(Problem::forbidden(why));
    }
    let own = host.map(|host| format!("http://{host}"));
    if headers.contains_key(ORIGIN) && text(headers, &ORIGIN) != own.as_deref() {
        return Err(Problem::forbidden("pages of other sites may not ask this"));
    }
    Ok(())
}

/// What is no text names nothing that is known here.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}

fn is_of_this_machine(host: &str) -> bool {
    let address = Address::parse(host).or_else(|_| Address::parse(&[host, PORT_DEFAULT].concat()));
    address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        check(&headers.collect()).is_err()
    }

    #[test]
    fn a_host_is_of_this_machine() {
        for host in ["localhost", "127.0.0.1:4080", "[::1]:4080", "localhost:1"] {
            assert!(!is_refused(&[(HOST, host)]), "{host}");
        }
        for host in ["evil.example", "evil.example:4080", "10.0.0.1:1", ""] {
            assert!(is_refused(&[(HOST, host)]), "{host}");
        }
        assert!(!is_refused(&[]), "HTTP/1.0 has no Host");
    }

    #[test]
    fn a_page_asks_only_where_it_comes_from() {
        let host = (HOST, "localhost:4080");
        let own = (ORIGIN, "http://localhost:4080");
        assert!(!is_refused(&[host.clone(), own.clone()]));
        for origin in ["http://localhost:80", "https://evil.example", "null"] {
            assert!(is_refused(&[host.clone(), (ORIGIN, origin)]), "{origin}");
        }
        assert!(is_refused(&[own]));
    }
}
