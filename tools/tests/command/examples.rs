//! Every example that a help text gives, run as it stands against a real node: from `corelith` and each
//! of its commands, from the help of `corelithd`, and from the README. Devices are files of the same names.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use corelith_client::{Client, ClientOptions, Commit, DeleteRequest, ScanOptions, Scanned};
use corelith_tools::arguments::Arguments;
use serde_json::Value;

use crate::node::{Node, binary};
use crate::tool::Ended;

/// What a shell says to a node: where it runs, and on which node.
struct Shell<'a> {
    folder: &'a Path,
    node: &'a Node,
}

impl<'a> Shell<'a> {
    fn new(folder: &'a Path, node: &'a Node) -> Self {
        let programs = folder.join("bin");
        std::fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_corelith"), programs.join("corelith"))
            .unwrap();
        Shell { folder, node }
    }

    fn run(&self, line: &str) -> Ended {
        // A user has devices where the test has files.
        let line = line.replace("/dev/nvme", "./nvme");
        // And a connection where the test has made one.
        let caller = line
            .contains("close 0-17")
            .then(|| TcpStream::connect(self.node.address()).unwrap());
        let line = match &caller {
            Some(caller) => {
                let peer = caller.local_addr().unwrap().to_string();
                line.replace("0-17", &self.node.connection_of(&peer))
            }
            None => line,
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = self.folder.join("bin");
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &line])
            .current_dir(self.folder)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("CORELITH_HOST", self.node.address())
            .env("CORELITH_CONTROL", self.node.control_address())
            .env_remove("CORELITH_NAMESPACE")
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn check(&self, line: &str) -> String {
        if line.contains("volume create") && line.contains("/dev/") {
            self.make_devices();
        }
        let ended = self.run(line);
        assert_eq!((ended.code, &*ended.stderr), (0, ""), "{line}: {ended:?}");
        ended.stdout
    }

    /// The examples of one help text in their order, and once more for programs.
    fn check_block(&self, block: &Block) {
        self.lay_out(&block.command);
        for line in &block.lines {
            self.check(line);
        }
        self.lay_out(&block.command);
        for line in &block.lines {
            let is_script = line.contains("completion ") || line.contains(" help ");
            if is_script || line.contains('>') {
                self.check(line);
                continue;
            }
            let json = if line.contains("--json") {
                line.clone()
            } else {
                format!("{line} --json")
            };
            for printed in self.check(&json).lines() {
                let value = serde_json::from_str::<Value>(printed);
                assert!(
                    value.is_ok_and(|value| value.is_object()),
                    "{json}: {printed}"
                );
            }
        }
    }

    /// Everything that the examples of a command take for given, and nothing else.
    fn lay_out(&self, command: &str) {
        self.remove_records();
        self.write_files();
        let given: &[&str] = match command {
            "get" | "exists" | "touch" | "delete" => &[
                "corelith put alice city=Berlin age=31",
                "corelith put bob city=Paris",
                "corelith put carl city=Rome",
                "corelith put 17 --key-type integer --set seats by=anna",
                FLIGHTS,
            ],
            "scan" | "export" | "stats" => &["corelith put alice city=Berlin", FLIGHTS],
            "volume show" => &[
                "rm -f volume.corelith",
                "corelith volume create /dev/nvme0n1 /dev/nvme1n1",
                "corelith volume create --size 4G ./volume.corelith",
            ],
            "backup" => &["rm -f *.backup", FLIGHTS],
            "backup verify" => &["rm -f *.backup", "corelith backup --output test.backup"],
            "restore" => &[
                "rm -f *.backup",
                FLIGHTS,
                "corelith backup --output test.backup",
                "corelith backup --output flights.backup --set flights",
            ],
            "volume create" => &["rm -f volume.corelith"],
            _ => &[],
        };
        for line in given {
            self.check(line);
        }
    }

    fn remove_records(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let removed = runtime.block_on(async {
            let client = Client::connect(&self.node.address(), ClientOptions::default()).await?;
            let namespace = client.namespace("test");
            let mut scan = namespace.scan(ScanOptions::default());
            while let Some(found) = scan.next().await? {
                let Scanned::Record(found) = found else {
                    panic!("{found:?}")
                };
                let request = DeleteRequest {
                    digest: found.digest,
                    expected_generation: None,
                    commit: Commit::NamespaceDefault,
                };
                namespace.delete(&request).await?;
            }
            Ok::<(), corelith_client::Error>(())
        });
        removed.unwrap();
    }

    fn write_files(&self) {
        let flights = "carrier,flight,time_hour,origin,dep_delay\n\
                       UA,1545,2013-01-01T10:00:00Z,EWR,2\nAA,1141,2013-01-01T10:00:00Z,JFK,NA\n";
        let users = "{\"id\":1,\"name\":\"anna\"}\n{\"id\":2,\"name\":\"ben\"}\n";
        std::fs::write(self.folder.join("flights.csv"), flights).unwrap();
        std::fs::write(self.folder.join("users.jsonl"), users).unwrap();
        std::fs::write(self.folder.join("big.csv"), "id,zip\n1,10115\n2,01067\n").unwrap();
        self.check("gzip --force big.csv");
    }

    /// Two drives that nobody has used yet.
    fn make_devices(&self) {
        for name in ["nvme0n1", "nvme1n1"] {
            drop(std::fs::remove_file(self.folder.join(name)));
            self.check(&format!("fallocate -l 4G {name}"));
        }
    }
}

const FLIGHTS: &str =
    "corelith load flights.csv --set flights --key carrier,flight,time_hour --null NA";

/// The examples of one help text.
struct Block {
    /// The command's words, without `corelith`.
    command: String,
    lines: Vec<String>,
}

/// The commands among the lines of a help text: indented by two, up to three spaces or the line's end.
fn lines_of(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.filter(|line| !line.starts_with(' '));
    let commands = lines.map(|line| line.split("   ").next().unwrap().trim_end().to_owned());
    commands.filter(|line| line.contains("corelith ")).collect()
}

fn collect(command: &clap::Command, words: &str, blocks: &mut Vec<Block>) {
    let help = command.get_after_help().map(ToString::to_string);
    let (_, examples) = help
        .as_deref()
        .and_then(|help| help.split_once("Examples:\n"))
        .unwrap_or_default();
    let lines = lines_of(examples.split("\n\n").next().unwrap());
    let is_leaf = command.get_subcommands().next().is_none();
    assert!(
        !is_leaf || !lines.is_empty(),
        "{words:?} has no examples in its help"
    );
    for line in &lines {
        assert!(
            line.contains(&format!("corelith {words}"))
                || line.contains(&format!("--json {words}")),
            "{words:?}: {line}"
        );
    }
    blocks.push(Block {
        command: words.to_owned(),
        lines,
    });
    for below in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        let words = format!("{words} {}", below.get_name());
        collect(below, words.trim(), blocks);
    }
}

#[test]
fn every_example_of_every_help_text_runs() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shell = Shell::new(folder.path(), &node);
    let mut blocks = Vec::new();
    collect(&Arguments::command(), "", &mut blocks);
    for block in &blocks {
        shell.check_block(block);
    }
    let pages = folder.path().join("man1");
    for block in &blocks {
        let name = format!("corelith {}", block.command)
            .trim()
            .replace(' ', "-");
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
}

#[test]
fn the_examples_of_the_other_pages_run() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shell = Shell::new(folder.path(), &node);
    let help = Command::new(binary()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let cargo = "cargo run --release --bin corelith -- ";
    let readme: String = readme
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix(cargo))
        .map(|line| format!("  corelith {line}\n"))
        .collect();
    for text in [&help, &readme] {
        let lines = lines_of(text);
        assert!(lines.len() >= 2, "{text}");
        for line in lines {
            shell.check(&line);
        }
    }
}

#[test]
fn the_hello_that_a_node_offers_is_answered() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shell = Shell::new(folder.path(), &node);
    let log = node.log();
    let (_, line) = log.split_once("say hello: ").unwrap();
    let printed = shell.check(line.lines().next().unwrap());
    assert!(printed.contains("city = \"Berlin\""), "{printed}");
}

#[test]
fn shells_take_their_completion() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shell = Shell::new(folder.path(), &node);
    shell.check("corelith completion bash > corelith.bash");
    // What the shell offers for a word that was begun.
    let offered = shell.check(
        "source corelith.bash; COMP_WORDS=(corelith vol); COMP_CWORD=1; \
         _corelith corelith vol corelith; echo \"${COMPREPLY[@]}\"",
    );
    assert_eq!(offered, "volume\n");
    for name in ["zsh", "fish", "elvish", "powershell"] {
        let script = shell.check(&format!("corelith completion {name}"));
        assert!(
            script.contains("corelith") && script.contains("volume"),
            "{name}"
        );
    }
}

#[test]
fn failures_are_objects_for_programs() {
    let node = Node::start(&[]);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shell = Shell::new(folder.path(), &node);
    for (line, code, kind, words) in [
        ("corelith get nobody --json", 3, "not_found", "nobody"),
        ("corelith --json get a --namespace x", 1, "failed", "x"),
        ("corelith ping --json --host 127.0.0.1:1", 2, "partial", ""),
        ("corelith gett --json", 2, "usage", "gett"),
        ("corelith put a b:int=5 --json", 2, "usage", "integer"),
        (
            "corelith load none.csv --key a --json",
            1,
            "failed",
            "none.csv",
        ),
        ("corelith volume show none --json", 1, "failed", "label"),
    ] {
        let ended = shell.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        let last = ended.stderr.lines().last().unwrap();
        let failure: Value = serde_json::from_str(last).unwrap();
        assert_eq!(failure["exit_code"], code, "{line}");
        assert_eq!(failure["kind"], kind, "{line}");
        assert!(
            failure["error"].as_str().unwrap().contains(words),
            "{line}: {failure}"
        );
        assert!(failure.get("remedy").is_some(), "{line}");
    }
}
