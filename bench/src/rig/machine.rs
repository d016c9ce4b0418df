//! The machine around the node: drives by their serial numbers, the ports to the host, and the node as a process. Linux only, and only
//! what a bare guest has.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corelith_io::Clock;

use crate::{Failure, NodeArguments};

/// The node's addresses.
pub(super) const ADDRESS: &str = "127.0.0.1:4100";
const CONTROL_ADDRESS: &str = "127.0.0.1:4190";

/// The longest wait for a drive, for a node that starts, or for one that stops. An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(4);

/// Where the node's log and its configuration are.
const LOG: &str = "/tmp/node.log";
const CONFIGURATION: &str = "/tmp/corelithd.toml";

/// What the node may take of the guest's memory.
const MEMORY_LIMIT: &str = "384 MiB";

/// Waits until `look` finds something.
pub(super) fn wait_for<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let clock = Clock::real();
    let began = clock.monotonic_ns();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let waited = Duration::from_nanos(clock.monotonic_ns().saturating_sub(began));
        if waited > PATIENCE {
            return Err(Failure::Rig(format!("{what} did not come")));
        }
        std::thread::sleep(STEP);
    }
}

/// An NVMe namespace.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    /// The block device.
    pub(super) path: PathBuf,
    /// What the kernel says of it.
    facts: PathBuf,
}

impl Drive {
    /// The first namespace of the controller with this serial number, once the driver has it.
    pub(super) fn find(serial: &str) -> Result<Self, Failure> {
        wait_for(&format!("the drive {serial}"), || Ok(Self::look(serial)))
    }

    fn look(serial: &str) -> Option<Self> {
        let entries = fs::read_dir("/sys/block").ok()?;
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.find(|name| {
            let found = fs::read_to_string(format!("/sys/block/{name}/device/serial"));
            found.is_ok_and(|found| found.trim() == serial)
        })?;
        let path = Path::new("/dev").join(&name);
        path.exists().then(|| Self {
            path,
            facts: Path::new("/sys/block").join(&name),
        })
    }

    /// A number or word that the kernel has of it, such as `queue/logical_block_size`.
    pub(super) fn fact(&self, name: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.facts.join(name))?.trim().to_owned())
    }

    /// Whether the kernel still has it.
    pub(super) fn is_there(&self) -> bool {
        self.facts.exists()
    }
}

/// A port to the host.
pub(super) struct Port {
    file: File,
}

impl Port {
    /// The port of this name.
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        let path = wait_for(&format!("the port {name}"), || Ok(Self::look(name)))?;
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    fn look(name: &str) -> Option<PathBuf> {
        let entries = fs::read_dir("/sys/class/virtio-ports").ok()?;
        let mut entries = entries.filter_map(Result::ok);
        let entry = entries.find(|entry| {
            let found = fs::read_to_string(entry.path().join("name"));
            found.is_ok_and(|found| found.trim() == name)
        })?;
        let path = Path::new("/dev").join(entry.file_name());
        path.exists().then_some(path)
    }

    /// Sends a line and waits for the answer's.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, Failure> {
        self.file.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            self.file.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer).trim().to_owned();
        if answer.starts_with("error") {
            return Err(Failure::Rig(format!(
                "{line:?} was answered with {answer:?}"
            )));
        }
        Ok(answer)
    }
}

/// Runs the operator's command to its end.
pub(super) fn tools(programs: &NodeArguments, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(&programs.tools)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Node(format!("{arguments:?} failed: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A node that runs. Dropping it kills it.
pub(super) struct Node {
    process: Child,
}

/// What a node is to serve.
pub(super) struct Served<'a> {
    /// The namespace's name, as its volume was made.
    pub(super) name: &'a str,
    /// The volume's devices.
    pub(super) devices: &'a [&'a Path],
    /// How its writes become durable: a word of the configuration.
    pub(super) durability: &'a str,
}

/// The configuration of a node on one core of a small machine.
fn configuration(served: &[Served<'_>]) -> String {
    let mut text = format!(
        "[node]\nlisten = \"{ADDRESS}\"\ncontrol = \"{CONTROL_ADDRESS}\"\ncores = 1\n\
         memory_limit = \"{MEMORY_LIMIT}\"\nbuffers_per_core = \"64 MiB\"\n"
    );
    for namespace in served {
        let devices: Vec<String> = namespace
            .devices
            .iter()
            .map(|path| format!("{path:?}"))
            .collect();
        text += &format!(
            "[namespace.{}]\ndevices = [{}]\ndurability = \"{}\"\n",
            namespace.name,
            devices.join(", "),
            namespace.durability
        );
    }
    text
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(super) fn start(programs: &NodeArguments, served: &[Served<'_>]) -> Result<Self, Failure> {
        fs::write(CONFIGURATION, configuration(served))?;
        let log = File::create(LOG)?;
        let process = Command::new(&programs.node)
            .args(["--config", CONFIGURATION])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut node = Self { process };
        let ready = wait_for("the node", || {
            if let Some(status) = node.process.try_wait()? {
                let log = Self::log();
                return Err(Failure::Node(format!(
                    "the node ended with {status}: {log}"
                )));
            }
            Ok(page("/ready").filter(|page| page.contains(" 200 ")))
        });
        match ready {
            Ok(_) => Ok(node),
            Err(Failure::Rig(text)) => Err(Failure::Node(format!("{text}: {}", Self::log()))),
            Err(failure) => Err(failure),
        }
    }

    /// As a power cut ends it.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// As an operator ends it.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let asked = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status()?;
        if !asked.success() {
            return Err(Failure::Rig(
                "the node could not be asked to stop".to_owned(),
            ));
        }
        let status = wait_for("the node's end", || Ok(self.process.try_wait()?))?;
        if !status.success() {
            let log = Self::log();
            return Err(Failure::Node(format!(
                "the node stopped with {status}: {log}"
            )));
        }
        Ok(())
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&mut self) -> Result<bool, Failure> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// What it has said so far.
    pub(super) fn log() -> String {
        fs::read(LOG).map_or_else(
            |error| error.to_string(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// A page of the node's control address, with its head; `None` if there is none.
pub(super) fn page(path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(CONTROL_ADDRESS).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}
