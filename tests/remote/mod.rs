//! Snapshots in object stores: sent, fetched, checked, removed; and stores that lose, cut or swap what they were given.

mod faults;
mod garbage;
mod gone_and_back;
mod healing;
mod hosts;
mod refused;
mod s3;
mod support;
