//! What is asked for most is shown, on the control page and among the metrics.

use corelith_wire::Status;

use crate::batches::{batch, rows};
use crate::peer::{Peer, digest, get};
use crate::running::Node;

#[test]
fn the_hottest_digest_stands_first() {
    let node = Node::start_small(&["--record-cache", "8M"]);
    let (status, page) = node.page("/hot");
    assert_eq!(status, 200);
    assert_eq!(page.lines().count(), 1, "{page}");
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "hot"), Status::Ok);
    // Every other request is for one key, on whichever core it arrives.
    let keys: Vec<u64> = (0..16_000)
        .map(|number| if number % 2 == 0 { 1 } else { 100 + number })
        .collect();
    for answer in peer.ask_all(&keys, get) {
        assert!(matches!(answer.status(), Status::Ok | Status::NotFound));
    }
    let (_, page) = node.page("/hot");
    let first = page.lines().nth(1).unwrap();
    let hottest = digest(1).to_string();
    assert!(first.contains(&hottest) && first.contains("test"), "{page}");
    let share: f64 = first.split_whitespace().next().unwrap().parse().unwrap();
    assert!((25.0..75.0).contains(&share), "{page}");
    let of_metrics = node.metric("corelith_hot_key_share", &[&hottest]);
    assert!(
        (share - of_metrics * 100.0).abs() < 1.0,
        "{of_metrics} {page}"
    );
}

#[test]
fn rows_of_batches_count_where_the_cache_answers_them_too() {
    let node = Node::start_small(&["--record-cache", "8M"]);
    let mut peer = Peer::greet(&node);
    assert_eq!(peer.put(1, "hot"), Status::Ok);
    let of_one_key = rows((0..1000).map(|_| get(1)));
    for _ in 0..16 {
        assert_eq!(peer.ask(&batch(&of_one_key)).status(), Status::Ok);
    }
    let (_, page) = node.page("/hot");
    assert!(page.contains(&digest(1).to_string()), "{page}");
}
