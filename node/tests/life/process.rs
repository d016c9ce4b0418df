//! A node of its own for each test, in a folder that goes away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Steps of 20 ms that a test waits for something before it is taken to hang.
const STEPS_MAX: u32 = 6000;

/// A running node.
pub(crate) struct Node {
    process: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    pub(crate) port: u16,
    pub(crate) control: u16,
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut node = Self::spawn(name, arguments, &[]);
        node.wait_until("ready", |node| node.ready().0 == 200);
        node
    }

    /// Starts a node with these variables in its environment.
    pub(crate) fn spawn(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = scratch(name);
        let (port, control) = free_ports();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let process = Command::new("true").spawn().unwrap();
        let mut node = Self {
            process,
            folder,
            arguments,
            variables,
            port,
            control,
        };
        node.process.wait().unwrap();
        node.start_again();
        node
    }

    /// Starts the node once more, on what it left.
    pub(crate) fn start_again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelithd"));
        command
            .current_dir(&self.folder)
            .args([
                "--data-dir",
                "data",
                "--size",
                "512M",
                "--shards",
                "4",
                "--cores",
                "2",
            ])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--control", &format!("127.0.0.1:{}", self.control)])
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.process = command.spawn().unwrap();
    }

    pub(crate) fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("not {what}: the node ended with {status}: {}", self.log());
            }
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not {what}: {}", self.log());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
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
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the node does not end: {}", self.log());
    }

    /// Asks for a clean stop and waits for it; the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Status and body of /ready; status 0 if nobody answers.
    pub(crate) fn ready(&self) -> (u16, String) {
        self.ask("GET", "/ready")
    }

    /// Status and body of a page; status 0 if nobody answers.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.control)) else {
            return (0, String::new());
        };
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
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
        let (status, page) = self.ask("GET", "/metrics");
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
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// An empty folder of this test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("node-{}-{name}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A port with two free ones behind it for the cores, and one for control. Tests of one process ask one after
/// another, each above the last.
fn free_ports() -> (u16, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..200 {
        let start = 20_000 + std::process::id() % 1000 * 8;
        let offset = NEXT.fetch_add(4, Ordering::Relaxed);
        let port = u16::try_from(start + offset % 4000).unwrap();
        let probes = (0..4).map(|distance| TcpListener::bind(("127.0.0.1", port + distance)).ok());
        if probes.collect::<Option<Vec<_>>>().is_some() {
            return (port, port + 3);
        }
    }
    panic!("no free ports");
}
