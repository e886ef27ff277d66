//! Every fuzz target on its corpus, and on changes of it: the same ones each time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::targets::{TARGETS, World};

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }
}

/// Edge values of lengths, numbers and texts.
const EDGES: [&[u8]; 16] = [
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"18446744073709551615",
    b"-1",
    b"1e999",
    b"\"\"",
    b"null",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"../",
    b"\0",
    b"\n",
    b"\\u0000",
    b"\xc3\x28",
];

/// One change: bits, bytes, lengths, a piece away, twice, or from another file.
fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(EDGES[random.below(EDGES.len())]);
        return;
    }
    let at = random.below(bytes.len());
    let end = at + random.below((bytes.len() - at).min(64)) + 1;
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next().to_le_bytes()[0],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let edge = EDGES[random.below(EDGES.len())];
            bytes.splice(at..at, edge.iter().copied());
        }
        6 => {
            let edge = EDGES[random.below(EDGES.len())];
            bytes.splice(at..end, edge.iter().copied());
        }
        7 if !other.is_empty() => {
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        // A number, or the length before a piece, that is off by one or by much.
        _ => {
            let by = [1, 255, 128, 16][random.below(4)];
            bytes[at] = bytes[at].wrapping_add(by);
        }
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

fn is_full() -> bool {
    std::env::var_os("CHSNAP_FULL").is_some_and(|value| value == "1")
}

#[test]
fn no_target_fails_on_its_corpus_or_on_changes_of_it() {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let world = World::new(&folder.path().join("repo"));
    let changes = if is_full() { 200_000 } else { 3000 };
    for (number, (name, target)) in TARGETS.iter().enumerate() {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in &files {
            target(&world, file);
        }
        let mut random = Random(number as u64);
        for _ in 0..changes {
            let mut bytes = files[random.below(files.len())].clone();
            let other = &files[random.below(files.len())];
            for _ in 0..=random.below(4) {
                change(&mut bytes, other, &mut random);
            }
            let begun = Instant::now();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&world, &bytes)));
            assert!(result.is_ok(), "{name} fails on {}", bytes.escape_ascii());
            assert!(begun.elapsed() < Duration::from_secs(5), "{name} is slow on {}", bytes.escape_ascii());
        }
    }
}
