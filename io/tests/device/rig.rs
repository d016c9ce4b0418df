//! Real devices to test on: loop devices over tmpfs, files, and what goes away with them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use corelith_io::{
    BufferPool, BufferPoolConfig, DmaBuffer, Holder, OpenDevice, OpenError, OpenOptions, Ring,
    RingConfig,
};

/// A file or folder of this test that is removed at the end.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A path that nothing has, below `folder`.
    pub(crate) fn new(folder: &str, name: &str) -> Self {
        let path = Path::new(folder).join(format!("corelith-io-{}-{name}", std::process::id()));
        let scratch = Self { path };
        scratch.remove();
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn remove(&self) {
        if self.path.is_dir() {
            std::fs::remove_dir_all(&self.path).unwrap();
        } else if self.path.exists() {
            std::fs::remove_file(&self.path).unwrap();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A loop device over a file on tmpfs.
pub(crate) struct LoopDevice {
    path: PathBuf,
    backing: Scratch,
}

impl LoopDevice {
    pub(crate) fn new(name: &str, size_bytes: u64, logical_block_bytes: u32) -> Self {
        let backing = Scratch::new("/dev/shm", name);
        let file = std::fs::File::create(backing.path()).unwrap();
        file.set_len(size_bytes).unwrap();
        drop(file);
        // Others may take the free device that losetup has just found.
        for _attempt in 0..10 {
            let output = Command::new("losetup")
                .args(["--show", "-f", "--direct-io=on", "-b"])
                .arg(logical_block_bytes.to_string())
                .arg(backing.path())
                .output()
                .unwrap();
            if output.status.success() {
                let path = String::from_utf8(output.stdout).unwrap();
                return Self {
                    path: PathBuf::from(path.trim()),
                    backing,
                };
            }
            let reason = String::from_utf8_lossy(&output.stderr);
            assert!(reason.contains("busy"), "no loop device: {reason}");
        }
        panic!("no loop device stays free");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves nothing of its size: what the kernel does to a block device whose drive was taken out.
    pub(crate) fn take_out(&self) {
        let backing = std::fs::File::options()
            .write(true)
            .open(self.backing.path())
            .unwrap();
        backing.set_len(0).unwrap();
        let path = self.path.to_str().unwrap();
        assert!(run("losetup", &["--set-capacity", path]));
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup")
            .arg("-d")
            .arg(&self.path)
            .status()
            .unwrap();
        assert!(detached.success());
    }
}

/// Runs a tool, and says whether it succeeded.
pub(crate) fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// A pool and a ring for the calling thread.
pub(crate) fn ring(config: RingConfig) -> (Ring, BufferPool) {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 8 << 20,
        limit_bytes: 64 << 20,
    });
    let pool = pool.unwrap();
    (Ring::new(config, &pool).unwrap(), pool)
}

pub(crate) fn open(path: &Path) -> OpenDevice {
    OpenDevice::open(path, OpenOptions::default()).unwrap()
}

/// Opens a device that this process has just let go of. A test beside this one may be starting a
/// program: between fork and exec the child holds copies of every descriptor, the claim among them.
pub(crate) fn open_once_free(path: &Path) -> OpenDevice {
    for _attempt in 0..1000 {
        match OpenDevice::open(path, OpenOptions::default()) {
            Err(OpenError::Held {
                holder: Holder::Unknown,
                ..
            }) => std::thread::sleep(Duration::from_millis(2)),
            outcome => return outcome.unwrap(),
        }
    }
    panic!("{} stays held", path.display());
}

/// A buffer that holds `length` bytes of a pattern that tells offset and `mark`.
pub(crate) fn pattern(pool: &BufferPool, length: usize, mark: u64) -> DmaBuffer {
    let mut buffer = pool.take(length).unwrap();
    for (position, word) in buffer.as_mut_slice()[..length]
        .chunks_exact_mut(8)
        .enumerate()
    {
        let value = mark.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (position as u64);
        word.copy_from_slice(&value.to_le_bytes());
    }
    buffer
}
