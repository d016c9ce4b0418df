//! A node in a folder of its own, and what it says when it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longest time that a start may take, in steps of [`STEP`]: a loaded machine is slow, not broken.
const STEPS_MAX: u32 = 6000;
const STEP: Duration = Duration::from_millis(20);

/// The longest wait for an answer: past it a test has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_corelithd");

/// A small file volume and two cores: what most tests run.
pub(crate) const SMALL: [&str; 6] = ["--size", "512M", "--shards", "4", "--cores", "2"];

/// A running node.
pub(crate) struct Node {
    process: Child,
    folder: TempDir,
    program: Vec<String>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
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
pub(crate) fn command(
    program: &[impl AsRef<str>],
    folder: &Path,
    (port, control): (u16, u16),
) -> Command {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let (first, rest) = program.split_first().unwrap();
    let mut command = Command::new(first.as_ref());
    command
        .args(rest.iter().map(AsRef::as_ref))
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
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
    /// A node on a small file volume, serving.
    pub(crate) fn start() -> Self {
        Self::start_with(&SMALL)
    }

    /// A small node with further options, serving.
    pub(crate) fn start_small(more: &[&str]) -> Self {
        Self::start_with(&[&SMALL[..], more].concat())
    }

    /// A node with other options, serving.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(folder(), &[BINARY], arguments)
    }

    /// A node in a folder that may have one already, serving.
    pub(crate) fn start_in(folder: TempDir, program: &[&str], arguments: &[&str]) -> Self {
        let mut node = Self::spawn(folder, (program, arguments), &[]);
        node.wait_until_ready();
        node
    }

    /// Starts a node and does not wait for it; `variables` are added to its environment.
    pub(crate) fn spawn(
        folder: TempDir,
        (program, arguments): (&[&str], &[&str]),
        variables: &[(&str, &str)],
    ) -> Self {
        let (port, control) = free_ports();
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (program, arguments): (Vec<String>, Vec<String>) = (owned(program), owned(arguments));
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let process = command(&program, folder.path(), (port, control))
            .args(&arguments)
            .envs(variables.clone())
            .spawn()
            .unwrap();
        Self {
            process,
            folder,
            program,
            arguments,
            variables,
            port,
            control,
        }
    }

    /// Starts it once more, on what it left, after it has ended.
    pub(crate) fn start_again(&mut self) {
        self.process = command(&self.program, self.folder.path(), (self.port, self.control))
            .args(&self.arguments)
            .envs(self.variables.clone())
            .spawn()
            .unwrap();
        self.wait_until_ready();
    }

    pub(crate) fn wait_until_ready(&mut self) {
        self.wait_until("ready", |node| node.ready().0 == 200);
    }

    pub(crate) fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("not {what}: the node ended with {status}: {}", self.log());
            }
            if is_so(self) {
                return;
            }
            std::thread::sleep(STEP);
        }
        panic!("not {what}: {}", self.log());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.id()).unwrap());
        kill(process, signal).unwrap();
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status
                    .code()
                    .unwrap_or_else(|| panic!("{status}: {}", self.log()));
            }
            std::thread::sleep(STEP);
        }
        panic!("the node does not end: {}", self.log());
    }

    /// Waits for the end of one that was killed.
    pub(crate) fn wait_killed(&mut self) {
        drop(self.process.wait());
    }

    /// Asks for a clean stop and waits for it; the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A connection that has sent nothing.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// Its number among processes.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Memory that it has, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("VmRSS:")).unwrap();
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes << 10
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

    /// Status and body of /ready; status 0 if nobody answers.
    pub(crate) fn ready(&self) -> (u16, String) {
        self.page("/ready")
    }

    /// Status and body of a page; status 0 if nobody answers.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.control)) else {
            return (0, String::new());
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let asked = stream.write_all(request.as_bytes());
        if asked.is_err() || stream.read_to_string(&mut answer).is_err() {
            return (0, String::new());
        }
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        (status.unwrap_or(0), body.unwrap_or_default())
    }

    /// The sum of the samples of a family whose labels hold these words.
    pub(crate) fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let (status, page) = self.page("/metrics");
        assert_eq!(status, 200, "{page}");
        page.lines()
            .filter(|line| {
                line.split('{').next() == Some(family)
                    && labels.iter().all(|label| line.contains(label))
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A connection to `port` that has sent nothing. An answer that does not come is a failure, not a hang.
pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
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
