//! What a supervisor is told, and what the control page says.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use corelith_wire::Status;

use crate::peer::{Peer, get};
use crate::running::{BINARY, Node, SMALL, folder};

/// Reads messages until one holds `line`.
fn until_told(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        if message.lines().any(|found| found == line) {
            return;
        }
    }
}

fn check_supervised(address: &str, socket: &UnixDatagram) {
    let patience = Some(Duration::from_secs(120));
    socket.set_read_timeout(patience).unwrap();
    let variables = [("NOTIFY_SOCKET", address), ("WATCHDOG_USEC", "100000")];
    let mut node = Node::spawn(folder(), (&[BINARY], &SMALL), &variables);
    until_told(socket, "READY=1");
    assert_eq!(node.ready().0, 200, "who says that it is ready is");
    until_told(socket, "WATCHDOG=1");
    until_told(socket, "WATCHDOG=1");
    assert_eq!(node.stop(), 0, "{}", node.log());
    until_told(socket, "STOPPING=1");
}

#[test]
fn a_supervisor_behind_a_path_is_told() {
    let folder = folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    check_supervised(path.to_str().unwrap(), &socket);
}

#[test]
fn a_supervisor_behind_an_abstract_name_is_told() {
    let name = format!("corelith-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    check_supervised(&format!("@{name}"), &socket);
}

#[test]
fn a_supervisor_that_is_not_there_holds_nothing_up() {
    let variables = [("NOTIFY_SOCKET", "no-such-socket")];
    let mut node = Node::spawn(folder(), (&[BINARY], &SMALL), &variables);
    node.wait_until_ready();
    assert_eq!(node.stop(), 0, "{}", node.log());
}

#[test]
fn the_control_page_tells_health_and_figures() {
    let mut node = Node::start();
    assert_eq!(node.ready(), (200, "serving\n".to_owned()));
    assert_eq!(node.page("/live"), (200, "live\n".to_owned()));
    let mut client = Peer::greet(&node);
    for key in 0..200 {
        assert_eq!(client.put(key, &"x".repeat(100)), Status::Ok);
        assert_eq!(client.ask(&get(key)).status(), Status::Ok);
    }
    let labels = ["namespace=\"test\"", "operation=\"put\"", "status=\"ok\""];
    assert_eq!(node.metric("corelith_operations_total", &labels), 200.0);
    for operation in ["put", "get"] {
        let labels = [&*format!("operation=\"{operation}\"")];
        let name = "corelith_request_duration_seconds";
        assert_eq!(node.metric(&format!("{name}_count"), &labels), 200.0);
        assert!(node.metric(&format!("{name}_sum"), &labels) > 0.0);
    }
    assert_eq!(node.metric("corelith_records", &["shard=\""]), 200.0);
    assert_eq!(node.metric("corelith_connections", &[]), 1.0);
    assert_eq!(node.metric("corelith_state", &["\"serving\""]), 1.0);
    assert_eq!(node.metric("corelith_device_fenced", &[]), 0.0);
    // Each of these records was read, and each write waited for its own trip to the device.
    let reads = ["operation=\"read\"", "volume.corelith"];
    assert!(node.metric("corelith_device_operations_total", &reads) >= 200.0);
    let writes = ["operation=\"write\"", "volume.corelith"];
    assert!(node.metric("corelith_device_bytes_total", &writes) >= 200.0 * 4096.0);
    assert!(node.metric("corelith_batch_padding_bytes_total", &[]) > 0.0);
    assert_eq!(node.stop(), 0, "{}", node.log());
}
