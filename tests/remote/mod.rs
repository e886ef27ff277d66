//! Snapshots in object stores: pushed, pulled, checked, removed; and stores that lose, truncate or swap objects.

mod faults;
mod garbage;
mod gone_and_back;
mod healing;
mod hosts;
mod refused;
mod s3;
mod support;
