//! Whether it happened: each kind of harm to a write and to a read, and what the caller is told.

use std::time::Duration;

use corelith_client::mock::{Fault, MockNode};
use corelith_client::{ClientOptions, ConnectError, ContentBuilder, Doubt, Error, Set, Status};
use corelith_wire::MessageKind;

use crate::{connect_with, patient, run};

fn bins() -> ContentBuilder {
    ContentBuilder::new().bin("a", 1)
}

fn short() -> ClientOptions {
    ClientOptions {
        timeout: Duration::from_millis(100),
        ..patient()
    }
}

async fn set(node: &MockNode, options: ClientOptions) -> Set {
    let set = connect_with(node, options)
        .await
        .namespace("test")
        .set("demo");
    // Every connection is there before harm is done.
    for key in 100..120 {
        eventually(&set, key).await;
    }
    set
}

/// Reads a record that is not there, however long the machine takes.
async fn eventually(set: &Set, key: i64) {
    loop {
        match set.get(key).await {
            Ok(found) => return assert_eq!(found, None),
            Err(error) => assert!(matches!(error, Error::TimedOut), "{error:?}"),
        }
    }
}

#[test]
fn a_write_whose_connection_breaks_is_in_doubt() {
    run(async {
        let node = MockNode::start();
        let set = set(&node, patient()).await;
        for (key, fault, happened) in [(1, Fault::CloseBefore, false), (2, Fault::CloseAfter, true)]
        {
            node.inject(MessageKind::Put, fault);
            let error = set.put(key, &bins()).await.unwrap_err();
            assert!(error.is_in_doubt(), "{error:?}");
            assert!(matches!(
                error,
                Error::InDoubt(Doubt::Disconnected(
                    ConnectError::ClosedByNode { .. } | ConnectError::Io { .. }
                ))
            ));
            // The doubt is real: one of them happened.
            assert_eq!(set.get(key).await.unwrap().is_some(), happened);
        }
    });
}

#[test]
fn a_write_without_an_answer_in_time_is_in_doubt() {
    run(async {
        let node = MockNode::start();
        let set = set(&node, short()).await;
        node.inject(MessageKind::Delete, Fault::Silence);
        let error = set.delete(1).await.unwrap_err();
        assert!(
            matches!(error, Error::InDoubt(Doubt::TimedOut)),
            "{error:?}"
        );
        // The connection lives: only that one answer is missing.
        let before = node.connection_count();
        eventually(&set, 1).await;
        assert_eq!(node.connection_count(), before);
    });
}

#[test]
fn a_late_answer_meets_nobody_else() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            in_flight_max: 1,
            shard_aware: false,
            ..short()
        };
        let set = set(&node, options).await;
        node.inject(MessageKind::Get, Fault::Delay(Duration::from_millis(1500)));
        let error = set.get(1).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{error:?}");
        // The place of the first is taken until its answer comes: these wait for it, and get their own.
        for key in 2..5 {
            eventually(&set, key).await;
        }
    });
}

#[test]
fn a_read_is_never_in_doubt_and_tried_again() {
    run(async {
        let node = MockNode::start();
        let once = set(&node, patient()).await;
        node.inject(MessageKind::Get, Fault::CloseBefore);
        let error = once.get(1).await.unwrap_err();
        assert!(matches!(error, Error::Disconnected(_)), "{error:?}");

        let again = set(
            &node,
            ClientOptions {
                retry_count_max: 2,
                ..patient()
            },
        )
        .await;
        node.inject(MessageKind::Get, Fault::CloseBefore);
        node.inject(MessageKind::Get, Fault::CloseAfter);
        assert_eq!(again.get(1).await.unwrap(), None);
        assert_eq!(node.pending_fault_count(), 0);
    });
}

#[test]
fn doubtful_writes_are_never_tried_again() {
    run(async {
        let node = MockNode::start();
        let set = set(
            &node,
            ClientOptions {
                retry_count_max: 5,
                ..patient()
            },
        )
        .await;
        for fault in [
            Fault::CloseBefore,
            Fault::CloseAfter,
            Fault::Garbage,
            Fault::Refuse(Status::InDoubt, 0),
            Fault::Refuse(Status::Internal, 0),
        ] {
            node.inject(MessageKind::Put, fault.clone());
            let error = set.put(1, &bins()).await.unwrap_err();
            assert!(error.is_in_doubt(), "{fault:?}: {error:?}");
            assert_eq!(node.pending_fault_count(), 0);
        }
    });
}

#[test]
fn doubtful_writes_are_tried_again_where_the_caller_allows_it() {
    run(async {
        let node = MockNode::start();
        let options = ClientOptions {
            retry_count_max: 5,
            retry_in_doubt: true,
            ..patient()
        };
        let set = set(&node, options).await;
        for (fault, generation) in [
            (Fault::CloseBefore, 1),
            (Fault::CloseAfter, 3),
            (Fault::Refuse(Status::InDoubt, 0), 4),
            (Fault::Refuse(Status::Internal, 0), 5),
        ] {
            node.inject(MessageKind::Put, fault.clone());
            let written = set.put(1, &bins()).await.unwrap();
            // Of the one whose answer was lost, both tries happened.
            assert_eq!(written.generation.get(), generation, "{fault:?}");
            assert_eq!(node.pending_fault_count(), 0);
        }
        // That a later try certainly did nothing says nothing of the first.
        node.inject(MessageKind::Put, Fault::CloseAfter);
        node.inject(MessageKind::Put, Fault::Refuse(Status::OutOfSpace, 0));
        let error = set.put(1, &bins()).await.unwrap_err();
        assert!(
            matches!(error, Error::InDoubt(Doubt::Disconnected(_))),
            "{error:?}"
        );
        assert_eq!(node.pending_fault_count(), 0);
    });
}

#[test]
fn refused_writes_are_tried_again_only_where_that_may_help() {
    run(async {
        let node = MockNode::start();
        let set = set(
            &node,
            ClientOptions {
                retry_count_max: 3,
                ..patient()
            },
        )
        .await;
        for status in [Status::Busy, Status::KeyBusy, Status::NotReady] {
            node.inject(MessageKind::Put, Fault::Refuse(status, 5));
        }
        let generation = set.put(1, &bins()).await.unwrap().generation;
        assert_eq!((generation.get(), node.pending_fault_count()), (1, 0));

        for status in [Status::OutOfSpace, Status::Fenced, Status::TooLarge] {
            node.inject(MessageKind::Put, Fault::Refuse(status, 0));
            let error = set.put(1, &bins()).await.unwrap_err();
            assert_eq!(error.status(), Some(status));
            assert!(!error.is_in_doubt());
        }
        assert_eq!(
            set.get_metadata(1).await.unwrap().unwrap().generation.get(),
            1
        );
    });
}

#[test]
fn retries_end() {
    run(async {
        let node = MockNode::start();
        let set = set(
            &node,
            ClientOptions {
                retry_count_max: 2,
                ..patient()
            },
        )
        .await;
        for _ in 0..4 {
            node.inject(MessageKind::Put, Fault::Refuse(Status::Busy, 1));
        }
        let error = set.put(1, &bins()).await.unwrap_err();
        assert_eq!(error.status(), Some(Status::Busy));
        assert_eq!(node.pending_fault_count(), 1, "one try and two more");
    });
}

#[test]
fn garbage_ends_the_connection_and_the_next_request_has_another() {
    run(async {
        let node = MockNode::start();
        let set = set(&node, patient()).await;
        let before = node.connection_count();
        node.inject(MessageKind::Get, Fault::Garbage);
        let error = set.get(1).await.unwrap_err();
        let Error::Disconnected(ConnectError::Unreadable { .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(set.get(1).await.unwrap(), None);
        assert_eq!(node.connection_count(), before + 1);
    });
}

#[test]
fn a_closed_client_says_so() {
    run(async {
        let node = MockNode::start();
        let client = connect_with(&node, patient()).await;
        let set = client.namespace("test").set("demo");
        set.put(1, &bins()).await.unwrap();
        client.close();
        assert!(matches!(set.get(1).await, Err(Error::Closed)));
    });
}
