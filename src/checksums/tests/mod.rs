//! The fixtures are real: `fixtures/<name>/` is a part, or only the `checksums.txt` of one, from
//! the version that begins the name. `fingerprints.tsv` and `<name>.entries.tsv` hold what to
//! expect; `system.parts` marks a fingerprint that the server itself printed, `computed` one from
//! an independent implementation, as 18.16 has no such column.

mod encoder;
mod fixtures;
mod hashes;
mod hostile;
mod round_trip;
