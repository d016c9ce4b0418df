//! Runs the command as a user does, and keeps what it printed and how it ended.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The exit code, and words of standard error. What is printed is said in the form that all share.
    #[track_caller]
    pub fn check_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let told = self.told();
        assert!(told.starts_with("corelith: "), "{self:?}");
        for words in words {
            assert!(told.contains(words), "no {words:?} in {self:?}");
        }
    }

    /// Standard error as people read it, also where it was written for programs: an object a line.
    #[track_caller]
    fn told(&self) -> String {
        if !self.stderr.starts_with('{') {
            return self.stderr.clone();
        }
        let mut told = String::new();
        for line in self.stderr.lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            let problem = object.get("warning").or(object.get("error")).unwrap();
            told += &format!("corelith: {}\n", problem.as_str().unwrap());
            if let Some(remedy) = object.get("remedy").and_then(Value::as_str) {
                told += &format!("  {remedy}\n");
            }
            if let Some(code) = object.get("exit_code") {
                assert_eq!(code, self.code, "{self:?}");
            }
        }
        told
    }

    /// Asserts that nothing was found, which is no failure: standard error says so in these words.
    #[track_caller]
    pub fn check_nothing(&self, words: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (0, ""), "{self:?}");
        assert_eq!(self.stderr, format!("corelith: {words}\n"));
    }

    #[track_caller]
    pub fn check_done(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        &self.stdout
    }
}

/// Starts the program in a folder, away from the caller's environment.
pub fn start<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_corelith"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("CORELITH_HOST")
        .env_remove("CORELITH_CONTROL")
        .env_remove("CORELITH_NAMESPACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs it to its end, with this text on standard input.
pub fn run_with<A: AsRef<OsStr>>(folder: &Path, arguments: &[A], input: &str) -> Ended {
    let mut child = start(folder, arguments);
    // A command that refuses its arguments ends without reading: that is no failure of the test.
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    if let Err(error) = written {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs it to its end.
pub fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Ended {
    run_with(folder, arguments, "")
}
