//! A server of blobs: over HTTP below `/open/` and `/secret/`, and the same as an S3 server's below `/bucket/`, for those who
//! sign. It writes down what it was asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub const DIGITS: &[u8] = b"0123456789";
/// The size of `large`: a thousand words of eight bytes, again and again.
pub const LARGE_BYTES: u64 = 64 << 20;
pub const LARGE_WORDS: u64 = 1024;
/// Whose signatures the bucket takes.
pub const ACCESS_KEY: &str = "key";

pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Method, path and range of each request.
    asked: Mutex<Vec<String>>,
    /// The bytes of all bodies.
    sent: AtomicU64,
}

/// A request without body.
#[derive(Default)]
struct Asked {
    method: String,
    path: String,
    range: Option<String>,
    authorization: String,
}

enum Answer {
    /// Status and reason, further headers, and the body: its bytes are repeated.
    Told(&'static str, String, Body),
    /// Headers for a thousand bytes, ten of them, and nothing else.
    Stalls,
    /// Nothing.
    Silent,
}

#[derive(Default)]
struct Body {
    pattern: Vec<u8>,
    from: u64,
    to: u64,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    /// The URL of a blob over HTTP.
    pub fn http(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }
}

/// A connection until its client has closed it, or has got no answer.
async fn serve(connection: TcpStream, state: Arc<State>) -> Option<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let asked = read(&mut connection).await?;
        let range = asked.range.clone().unwrap_or_default();
        let line = format!("{} {} {range}", asked.method, asked.path);
        state.asked.lock().unwrap().push(line.trim_end().to_owned());
        match answer(&asked) {
            Answer::Told(status, headers, body) => {
                let length = body.to - body.from;
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
                connection.write_all(head.as_bytes()).await.ok()?;
                if asked.method == "GET" {
                    send(&mut connection, &body, &state).await?;
                }
            }
            Answer::Stalls => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789";
                connection.write_all(head.as_bytes()).await.ok()?;
                return until_closed(&mut connection).await;
            }
            Answer::Silent => return until_closed(&mut connection).await,
        }
    }
}

async fn until_closed(connection: &mut BufReader<TcpStream>) -> Option<()> {
    connection.read_u8().await.ok().map(drop)
}

async fn send(connection: &mut BufReader<TcpStream>, body: &Body, state: &State) -> Option<()> {
    let period = body.pattern.len() as u64;
    let (mut at, mut left) = (body.from % period.max(1), body.to - body.from);
    while left > 0 {
        let rest = body.pattern.get(usize::try_from(at).unwrap()..).unwrap();
        let length = left.min(rest.len() as u64);
        let piece = rest.get(..usize::try_from(length).unwrap()).unwrap();
        connection.write_all(piece).await.ok()?;
        state.sent.fetch_add(length, Ordering::Relaxed);
        (at, left) = (0, left - length);
    }
    Some(())
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut asked = Asked::default();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(asked);
        }
        match line.split_once(": ") {
            None => {
                let mut words = line.split(' ').map(str::to_owned);
                (asked.method, asked.path) = (words.next()?, words.next()?);
            }
            Some((name, value)) => match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = Some(value.to_owned()),
                "authorization" => value.clone_into(&mut asked.authorization),
                _ => {}
            },
        }
    }
}

fn answer(asked: &Asked) -> Answer {
    let path = match asked.path.strip_prefix("/bucket") {
        Some(path) => {
            let by = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
            if !asked.authorization.starts_with(&by) {
                return refusal("403 Forbidden");
            }
            path
        }
        None => &asked.path,
    };
    let (pattern, bytes) = match path {
        "/open/digits" | "/open/a%20b" | "/open/plain" => (DIGITS.to_vec(), 10),
        "/open/empty" => (vec![0], 0),
        "/open/large" => {
            let words = (0..LARGE_WORDS).map(|number| format!("{number:07} "));
            (words.collect::<String>().into_bytes(), LARGE_BYTES)
        }
        "/secret/plan" => (b"secret".to_vec(), 6),
        "/open/moved" => {
            let headers = "location: /secret/plan\r\n".to_owned();
            return Answer::Told("307 Temporary Redirect", headers, Body::default());
        }
        "/open/failing" => return refusal("503 Service Unavailable"),
        "/open/stalls" => return Answer::Stalls,
        "/open/silent" => return Answer::Silent,
        _ => return refusal("404 Not Found"),
    };
    let range = asked.range.as_deref().filter(|_| path != "/open/plain");
    found(pattern, bytes, range)
}

fn refusal(status: &'static str) -> Answer {
    Answer::Told(status, String::new(), Body::default())
}

fn found(pattern: Vec<u8>, bytes: u64, range: Option<&str>) -> Answer {
    let dated = "etag: \"1\"\r\nlast-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    let Some(range) = range else {
        let (from, to) = (0, bytes);
        return Answer::Told("200 OK", dated.to_owned(), Body { pattern, from, to });
    };
    let (from, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let from: u64 = from.parse().unwrap();
    let to = last.parse().map_or(bytes, |last: u64| bytes.min(last + 1));
    if from >= bytes {
        return refusal("416 Range Not Satisfiable");
    }
    let headers = format!("{dated}content-range: bytes {from}-{}/{bytes}\r\n", to - 1);
    Answer::Told("206 Partial Content", headers, Body { pattern, from, to })
}
