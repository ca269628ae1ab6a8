//! Blobs in files, over HTTP and in S3: what is granted is streamed in bounded memory, and nothing else is reached.

use std::time::Duration;

use common::types::Item;
use worker::host::{
    AwsSettings, BlobError, HostConfig, OperatorError, OperatorFailure, OperatorHost, Ran,
};

use crate::blob_server::{ACCESS_KEY, DIGITS, LARGE_BYTES, LARGE_WORDS, Server};
use crate::native::install;
use crate::support::{PLENTY, memory, request, soon};

/// A server, and a host of operators that may use its bucket, with `reads` among them.
struct Stage {
    server: Server,
    host: OperatorHost,
    directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[("AWS_ALLOW_HTTP", "true")]).await
    }

    async fn with(aws: &[(&str, &str)]) -> Self {
        let server = Server::start().await;
        let directory = tempfile::tempdir().unwrap();
        install(
            "MARIONETTE_HOSTILE_COMPONENT",
            "operators/hostile",
            "hostile",
            directory.path(),
        );
        let endpoint = format!("http://{}", server.address);
        let common = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let settings = common.iter().chain(aws);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config = HostConfig {
            directory: Some(directory.path().to_owned()),
            allow_native: true,
            aws: AwsSettings::new(settings.map(owned)),
            ..HostConfig::default()
        };
        let host = OperatorHost::start(config).await.unwrap();
        assert_eq!(host.problems(), []);
        Self {
            server,
            host,
            directory,
        }
    }

    async fn run(
        &self,
        class: &str,
        input: &str,
        grant: &str,
        deadline: Duration,
    ) -> Result<Vec<Item>, OperatorError> {
        let mut request = request(class, input, &[]);
        request.grants = vec![grant.to_owned()];
        let Ran { result, .. } =
            soon(self.host.run(request, memory(&[("any", "1")]), deadline)).await;
        result
    }

    /// How much it read, and its hash; or the blob's error.
    async fn reads(&self, input: &str, grant: &str) -> Result<String, BlobError> {
        match self.run("Reads", input, grant, PLENTY).await {
            Ok(items) => {
                let [item] = items.as_slice() else {
                    panic!("one item expected, found {items:?}")
                };
                Ok(String::from_utf8(item.value.to_vec()).unwrap())
            }
            Err(error) => match error.failure {
                OperatorFailure::Blob { error, .. } => Err(error),
                other => panic!("{other}"),
            },
        }
    }

    /// Where the same blobs are.
    fn places(&self) -> [String; 3] {
        for (name, bytes) in [("digits", DIGITS), ("empty", &[]), ("a b", DIGITS)] {
            std::fs::write(self.directory.path().join(name), bytes).unwrap();
        }
        [
            format!("file://{}/", self.directory.path().display()),
            self.server.http("open/"),
            "s3://bucket/open/".to_owned(),
        ]
    }
}

/// What `Reads` returns of these bytes.
fn read(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} {hash}", bytes.len())
}

#[tokio::test]
async fn ranges_are_exact_to_the_byte_wherever_the_blob_is() {
    let stage = Stage::new().await;
    for place in stage.places() {
        for (range, expected) in [
            ("0", DIGITS),
            ("0 10", DIGITS),
            ("0 1", b"0"),
            ("2 5", b"23456"),
            ("9 1", b"9"),
            ("9", b"9"),
            ("5 100", b"56789"),
            ("1 18446744073709551615", b"123456789"),
            ("3 0", b""),
            ("10", b""),
            ("10 5", b""),
        ] {
            let input = format!("{place}digits {range}");
            let found = stage.reads(&input, &place).await;
            assert_eq!(found, Ok(read(expected)), "{input}");
        }
        for range in ["11", "11 0", "11 5"] {
            let input = format!("{place}digits {range}");
            let refused = stage.reads(&input, &place).await;
            assert_eq!(
                refused,
                Err(BlobError::InvalidRange { bytes: 10 }),
                "{input}"
            );
        }
        let empty = stage.reads(&format!("{place}empty 0"), &place).await;
        assert_eq!(empty, Ok(read(b"")), "{place}");
        let escaped = stage.reads(&format!("{place}%61%20b 0"), &place).await;
        assert_eq!(escaped, Ok(read(DIGITS)), "{place}");
        let missing = stage.reads(&format!("{place}missing 0"), &place).await;
        assert_eq!(missing, Err(BlobError::NotFound), "{place}");
    }
}

#[tokio::test]
async fn a_bucket_is_asked_for_the_range_and_no_more() {
    let stage = Stage::new().await;
    let input = "s3://bucket/open/digits 2 5";
    assert!(stage.reads(input, "s3://bucket/open").await.is_ok());
    assert_eq!(stage.server.asked(), ["GET /bucket/open/digits bytes=2-6"]);
    assert_eq!(stage.server.sent(), 5);
}

#[tokio::test]
async fn nothing_beyond_the_grant_is_asked_for() {
    let stage = Stage::new().await;
    let server = &stage.server;
    let elsewhere = format!("http://localhost:{}/open/digits", server.address.port());
    for url in [
        server.http("secret/plan"),
        server.http("open/../secret/plan"),
        server.http("open/%2e%2e/secret/plan"),
        server.http("opener"),
        elsewhere,
        format!("https://{}/open/digits", server.address),
        "s3://bucket/open/digits".to_owned(),
    ] {
        let refused = stage.reads(&format!("{url} 0"), &server.http("open")).await;
        assert_eq!(refused, Err(BlobError::NotGranted), "{url}");
    }
    for url in [
        server.http("open/..%2fsecret/plan"),
        server.http("open/digits?a=b"),
        server.http("open/"),
        server.http("open//digits"),
        format!("http://user@{}/open/digits", server.address),
        "ftp://host/open/digits".to_owned(),
    ] {
        let refused = stage.reads(&format!("{url} 0"), &server.http("open")).await;
        assert!(matches!(refused, Err(BlobError::InvalidUrl(_))), "{url}");
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
}

#[tokio::test]
async fn a_server_that_sends_its_clients_elsewhere_is_not_followed() {
    let stage = Stage::new().await;
    let moved = stage.server.http("open/moved 0");
    let error = stage.reads(&moved, &stage.server.http("open/")).await;
    assert!(matches!(error, Err(BlobError::Unavailable(_))), "{error:?}");
    let asked = stage.server.asked();
    assert!(!asked.is_empty());
    assert!(
        asked.iter().all(|line| line.contains("/open/moved")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_blob_of_64_mib_is_counted_in_pieces() {
    let stage = Stage::new().await;
    for place in [
        stage.server.http("open/large"),
        "s3://bucket/open/large".to_owned(),
    ] {
        let items = stage
            .run("WordCount", &place, &place, PLENTY)
            .await
            .unwrap();
        assert_eq!(items.len() as u64, LARGE_WORDS);
        let each = (LARGE_BYTES / 8 / LARGE_WORDS).to_string();
        assert!(items.iter().all(|item| item.value == each.as_bytes()));
    }
}

#[tokio::test]
async fn no_more_is_taken_of_a_server_than_is_read() {
    let stage = Stage::new().await;
    let url = stage.server.http("open/large");
    let deadline = Duration::from_secs(2);
    let ended = stage.run("Dawdles", &url, &url, deadline).await;
    let failure = ended.unwrap_err().failure;
    assert_eq!(failure, OperatorFailure::DeadlineExceeded { deadline });
    // What the system holds for a connection, and a little.
    let sent = stage.server.sent();
    assert!((1..LARGE_BYTES / 4).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_server_that_stalls_costs_its_task_the_deadline() {
    let stage = Stage::new().await;
    let deadline = Duration::from_millis(300);
    for name in ["open/stalls", "open/silent"] {
        let url = stage.server.http(name);
        let ended = stage.run("Reads", &url, &url, deadline).await;
        let failure = ended.unwrap_err().failure;
        assert_eq!(
            failure,
            OperatorFailure::DeadlineExceeded { deadline },
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_server_that_fails_or_is_gone_is_unavailable() {
    let stage = Stage::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}/a", listener.local_addr().unwrap());
    drop(listener);
    let failing = stage.server.http("open/failing");
    // It ignores ranges, and what it sends would be taken for another part of the blob.
    let plain = stage.server.http("open/plain");
    for (input, grant) in [
        (format!("{gone} 0"), gone),
        (format!("{failing} 0"), failing),
        (format!("{plain} 2 5"), plain.clone()),
    ] {
        let error = stage.reads(&input, &grant).await;
        assert!(matches!(error, Err(BlobError::Unavailable(_))), "{error:?}");
    }
    let whole = stage.reads(&format!("{plain} 0"), &plain).await;
    assert_eq!(whole, Ok(read(DIGITS)), "all of it needs no range");
}

#[tokio::test]
async fn a_bucket_is_reached_as_its_owner_and_by_tls_unless_told_otherwise() {
    for (aws, reason) in [
        (&[][..], "AWS_ALLOW_HTTP=true"),
        (
            &[("AWS_ALLOW_HTTP", "true"), ("AWS_ACCESS_KEY_ID", "other")],
            "403",
        ),
    ] {
        let stage = Stage::with(aws).await;
        let error = stage
            .reads("s3://bucket/open/digits 0", "s3://bucket")
            .await;
        let Err(BlobError::Unavailable(text)) = error else {
            panic!("{error:?}")
        };
        assert!(text.contains(reason), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
