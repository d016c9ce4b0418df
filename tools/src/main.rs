//! The program `corelith`: hands its command line to the library and ends with what that says.

use std::process::ExitCode;

// The store of a program that ships cannot be made wrong on purpose.
const _: () = assert!(!corelith_store::HAS_PLANTED_BUGS);

fn main() -> ExitCode {
    corelith_tools::run()
}
