//! Snapshots in object stores: sent, fetched, checked, removed; and stores that lose, cut or swap what they were given.

mod extracts;
mod faults;
mod garbage;
mod gone_and_back;
mod healing;
mod hosts;
mod refused;
mod retention;
mod secrets;
mod services;
mod support;
