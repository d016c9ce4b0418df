//! How often a value that is read is copied: counted in the memory of the process itself. What a copy leaves behind stays
//! there until something else is written over it, and nothing else happens to the node.

use std::os::unix::fs::FileExt;

use corelith_wire::Status;

use crate::peer::Peer;
use crate::running::{BINARY, Node, folder};

/// A node on which nobody but the test reads.
const QUIET: &str = "[node]\ncores = 1\n[namespace.test]\nfile = \"v\"\nsize = \"512 MiB\"\nshards = 4\nscrub_rate = \"none\"\n";

/// How many places of a process's own memory hold these bytes.
fn places_of(needle: &[u8], process: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut place_count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // The rings' own memory is the kernel's, and cannot be read this way.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            let windows = bytes.windows(needle.len());
            place_count += windows.filter(|window| *window == needle).count();
        }
    }
    place_count
}

#[test]
fn a_value_from_the_device_is_copied_once_and_from_the_cache_once_more() {
    let value: String = (0..4000_u32)
        .map(|step| char::from(b'a' + u8::try_from(step * step % 11_003 % 26).unwrap()))
        .collect();
    let middle = value.as_bytes()[1000..3000].to_vec();
    // Where the device has put it, and the answer; with a cache, where that keeps it.
    let cached = "record_cache = \"16 MiB\"\n";
    for (cache, expected) in [("", 2), (cached, 3)] {
        let folder = folder();
        std::fs::write(folder.path().join("node.toml"), format!("{QUIET}{cache}")).unwrap();
        let mut node = Node::start_in(folder, &[BINARY], &["--config", "node.toml"]);
        assert_eq!(Peer::greet(&node).put(1, &value), Status::Ok);
        assert_eq!(node.stop(), 0, "{}", node.log());
        node.start_again();
        assert_eq!(places_of(&middle, node.id()), 0, "before it is asked for");
        let answered = Peer::greet(&node).get(1);
        assert_eq!(answered.as_ref(), Some(&value));
        assert_eq!(places_of(&middle, node.id()), expected, "{cache:?}");
    }
}
