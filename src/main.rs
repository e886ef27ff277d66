//! The `chsnap` command.

mod cli;

use std::process::ExitCode;

/// What a Rust program that panics exits with.
const PANICKED: i32 = 101;

fn main() -> ExitCode {
    end_with_a_panic();
    chsnap::fs::restrict_new_files();
    chsnap::fs::forbid_core_dumps();
    chsnap::fs::raise_descriptor_limit();
    ExitCode::from(cli::main(std::env::args_os()))
}

/// A panic is a bug. It ends the whole process, as a kill does, and the next run puts right what this one has left: to
/// go on with one thread less could be to wait for ever.
fn end_with_a_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(PANICKED);
    }));
}
