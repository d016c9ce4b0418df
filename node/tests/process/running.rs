//! A node in a folder of its own, and what it says when it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Longest time that a start may take, in steps of [`STEP`]: a loaded machine is slow, not broken.
const STEPS_MAX: u32 = 1200;
const STEP: Duration = Duration::from_millis(50);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_corelithd");

/// A running node.
pub(crate) struct Node {
    process: Child,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) control: u16,
}

/// How a node ended that did not come to serve.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Ended {
    /// Asserts that it failed with one message that has all of `words`.
    #[track_caller]
    pub(crate) fn check_failed(&self, words: &[&str]) {
        assert!(
            matches!(self.code, Some(1 | 2)),
            "{:?}: {}",
            self.code,
            self.text
        );
        for word in words {
            assert!(
                self.text.contains(word),
                "{word:?} is missing: {}",
                self.text
            );
        }
        assert!(!self.text.contains("panicked"), "{}", self.text);
    }
}

/// A folder on the disk that holds the build.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The command of a node in `folder`, on ports of its own.
pub(crate) fn command(program: &[&str], folder: &Path, (port, control): (u16, u16)) -> Command {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let (first, rest) = program.split_first().unwrap();
    let mut command = Command::new(first);
    command
        .args(rest)
        .current_dir(folder)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--control", &format!("127.0.0.1:{control}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
}

/// Runs a node that is expected to end by itself.
pub(crate) fn run_to_end(folder: &Path, arguments: &[&str]) -> Ended {
    run_command_to_end(
        command(&[BINARY], folder, free_ports()).args(arguments),
        folder,
    )
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run_command_to_end(command: &mut Command, folder: &Path) -> Ended {
    let mut process = command.spawn().unwrap();
    for _ in 0..STEPS_MAX {
        if let Some(status) = process.try_wait().unwrap() {
            return Ended {
                code: status.code(),
                text: std::fs::read_to_string(folder.join("log")).unwrap(),
            };
        }
        std::thread::sleep(STEP);
    }
    drop(process.kill());
    panic!("the node did not end");
}

impl Node {
    /// A node on a small file volume.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--size", "512M", "--shards", "4", "--cores", "2"])
    }

    /// A node with other options.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(folder(), &[BINARY], arguments)
    }

    /// A node in a folder that may have one already.
    pub(crate) fn start_in(folder: TempDir, program: &[&str], arguments: &[&str]) -> Self {
        let (port, control) = free_ports();
        let process = command(program, folder.path(), (port, control))
            .args(arguments)
            .spawn()
            .unwrap();
        let mut node = Self {
            process,
            folder,
            port,
            control,
        };
        node.wait_until_ready();
        node
    }

    fn wait_until_ready(&mut self) {
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the node ended with {status}: {}", self.log());
            }
            if is_ready(self.control) {
                return;
            }
            std::thread::sleep(STEP);
        }
        panic!("the node is not ready: {}", self.log());
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A connection that has sent nothing.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // An answer that does not come is a failure, not a hang.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Its number among processes.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Path of its file volume.
    pub(crate) fn volume(&self) -> PathBuf {
        self.folder.path().join("corelith-data/volume.corelith")
    }

    /// Kills it and gives its folder back.
    pub(crate) fn kill(mut self) -> TempDir {
        drop(self.process.kill());
        drop(self.process.wait());
        std::mem::replace(&mut self.folder, folder())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port with two free ones behind it for the cores, and one for control: below those that the kernel gives
/// out by itself, and of no other test of this process.
pub(crate) fn free_ports() -> (u16, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 37;
        let port = 10_000 + u16::try_from(turn % 4_000).unwrap() * 5;
        let all: Vec<_> = (0..4)
            .map(|distance| TcpListener::bind(("127.0.0.1", port + distance)))
            .collect();
        if all.iter().all(Result::is_ok) {
            return (port, port + 3);
        }
    }
}

fn is_ready(control: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", control)) else {
        return false;
    };
    let request = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
