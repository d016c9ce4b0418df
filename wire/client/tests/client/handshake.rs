//! Who may be spoken to at all.

use std::time::Duration;

use corelith_client::mock::{MockNode, MockOptions};
use corelith_client::{Client, ClientOptions, ConnectError, ContentBuilder, Error};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::{connect, patient, run};

async fn refusal(address: &str) -> ConnectError {
    refusal_within(address, patient().connect_timeout).await
}

async fn refusal_within(address: &str, connect_timeout: Duration) -> ConnectError {
    let options = ClientOptions {
        connect_timeout,
        ..patient()
    };
    match Client::connect(address, options).await {
        Err(Error::Disconnected(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn refusal_of(options: MockOptions) -> ConnectError {
    let node = MockNode::start_with(options);
    refusal(&node.address().to_string()).await
}

#[test]
fn nobody_there() {
    run(async {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap().to_string();
        let silent = refusal_within(&address, Duration::from_millis(50)).await;
        assert!(
            matches!(silent, ConnectError::TimedOut { .. }),
            "{silent:?}"
        );
        drop(port);
        let gone = refusal(&address).await;
        assert!(matches!(gone, ConnectError::Io { .. }), "{gone:?}");
        let nowhere = refusal("no-port-given").await;
        assert!(
            matches!(nowhere, ConnectError::Resolve { .. }),
            "{nowhere:?}"
        );
    });
}

#[test]
fn another_protocol() {
    run(async {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap().to_string();
        let server = async {
            let (mut stream, _) = port.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            stream
        };
        let (error, _stream) = tokio::join!(refusal(&address), server);
        assert!(
            matches!(error, ConnectError::Unreadable { .. }),
            "{error:?}"
        );
    });
}

#[test]
fn another_version_or_unknown_features() {
    run(async {
        let newer = refusal_of(MockOptions {
            version: 9,
            ..MockOptions::default()
        })
        .await;
        assert!(
            matches!(newer, ConnectError::Version { version: 9, .. }),
            "{newer:?}"
        );
        let unknown = MockOptions {
            features_incompatible: 6,
            ..MockOptions::default()
        };
        let unknown = refusal_of(unknown).await;
        let ConnectError::Features { features, .. } = unknown else {
            panic!("{unknown:?}")
        };
        assert_eq!(features.unknown, 6);
    });
}

#[test]
fn features_that_only_writes_depend_on() {
    run(async {
        let options = MockOptions {
            features_read_only: 1,
            ..MockOptions::default()
        };
        let node = MockNode::start_with(options);
        let set = connect(&node).await.namespace("test").set("demo");
        assert_eq!(set.get(1).await.unwrap(), None);
        let put = set.put(1, &ContentBuilder::new().bin("a", 1)).await;
        assert!(matches!(put, Err(Error::ReadOnly)), "{put:?}");
        assert_eq!(node.record_count(), 0);
    });
}
