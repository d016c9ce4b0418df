//! The manual page and the completion scripts of `corelithd`, from clap's own description of its
//! command line. A packager asks for them once; a node that serves never does.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::options::Options;

/// Writes what was asked for to standard output; false if nothing was.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn write(options: &Options) -> io::Result<bool> {
    let mut page = Vec::new();
    if let Some(shell) = options.completion {
        complete(shell, &mut page);
    } else if options.man {
        Man::new(Options::command()).render(&mut page)?;
    } else {
        return Ok(false);
    }
    io::stdout().lock().write_all(&page)?;
    Ok(true)
}

fn complete(shell: Shell, script: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut Options::command(), "corelithd", script);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_know_the_options() {
        let mut page = Vec::new();
        Man::new(Options::command()).render(&mut page).unwrap();
        let mut script = Vec::new();
        complete(Shell::Bash, &mut script);
        for text in [page, script] {
            let text = String::from_utf8(text).unwrap().replace('\\', "");
            assert!(text.contains("--data-dir"), "{text}");
        }
    }
}
