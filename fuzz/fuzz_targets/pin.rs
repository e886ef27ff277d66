#![no_main]

#[path = "../targets.rs"]
mod targets;
#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|input: &[u8]| world::run("pin", input));
