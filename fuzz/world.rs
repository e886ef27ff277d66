//! The repository of a process that fuzzes. libFuzzer ends its process without a word, so it stays behind, in memory
//! where there is such a place.

use std::path::Path;
use std::sync::OnceLock;

use crate::targets::{TARGETS, World};

/// Runs the target of this name.
pub(crate) fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target");
    target(world(), input);
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        World::new(&parent.join(format!("chsnap-fuzz-{}", std::process::id())))
    })
}
