//! The `chsnap` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::panics::end_the_process();
    chsnap::fs::restrict_new_files();
    chsnap::fs::forbid_core_dumps();
    chsnap::fs::raise_descriptor_limit();
    ExitCode::from(cli::main(std::env::args_os()))
}
