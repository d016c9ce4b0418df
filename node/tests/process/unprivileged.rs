//! A node without privileges, with little of what it would like to lock or open.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::peer::check_serves;
use crate::running::{BINARY, Node, command, folder, free_ports, run_command_to_end};

/// The user "nobody" of Debian and most others.
const NOBODY: &str = "65534";

/// Runs the node as somebody without any privilege: as "nobody" if the tests run as root, else as they are.
fn without_privileges(folder: &Path) -> Vec<String> {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        return Vec::new();
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    [
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The words that run `binary` without privileges and with `memlock_bytes` that it may lock.
fn poor(folder: &Path, memlock_bytes: u64) -> Vec<String> {
    let binary = folder.join("corelithd");
    std::fs::copy(BINARY, &binary).unwrap();
    let limit = format!("--memlock={memlock_bytes}:{memlock_bytes}");
    let mut program = vec!["prlimit".to_owned(), limit];
    program.extend(without_privileges(folder));
    program.push(binary.to_str().unwrap().to_owned());
    program
}

#[test]
fn without_privileges_and_with_little_locked_memory_it_serves_and_says_what_it_lacks() {
    let folder = folder();
    let program = poor(folder.path(), 1 << 20);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let options = ["--size", "512M", "--shards", "4", "--cores", "2"];
    let node = Node::start_in(folder, &program, &options);
    check_serves(&node);
    let log = node.log();
    let lacks = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("ulimit -l"));
    assert!(lacks.count() >= 1, "the remedy is named: {log}");
}

#[test]
fn with_hardly_any_locked_memory_it_says_how_much_it_needs() {
    let folder = folder();
    let program = poor(folder.path(), 64 << 10);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let ended = run_command_to_end(
        &mut command(&program, folder.path(), free_ports()),
        folder.path(),
    );
    ended.check_failed(&["65536", "524288", "LimitMEMLOCK="]);
}
