//! `corelith completion` and `corelith man`: what they take.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// For which shell.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corelith completion bash > corelith.bash       then: source corelith.bash, or put it among the
                                                 files of /usr/share/bash-completion/completions
  corelith completion zsh > _corelith            into a folder of $fpath
  corelith completion fish > corelith.fish       into ~/.config/fish/completions")]
pub struct CompletionArguments {
    /// The shell whose completion is written to standard output.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Where to.
#[derive(Args, Debug)]
#[command(
    after_help = "One page a command, in section 1: corelith.1, corelith-volume-create.1 and so on. \
Pages of these names are written over.

Examples:
  corelith man --output man1
  corelith man --output man1 --json"
)]
pub struct ManArguments {
    /// The folder for the pages; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}
