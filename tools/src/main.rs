//! The program `corelith`: hands its command line to the library and ends with what that says.

use std::process::ExitCode;

fn main() -> ExitCode {
    corelith_tools::run()
}
