//! Snapshots in object stores: pushed, pulled, checked, removed; and stores that lose, truncate or swap objects.

mod between;
mod extracts;
mod faults;
mod garbage;
mod gone_and_back;
mod healing;
mod hosts;
mod locked;
mod refused;
mod retention;
mod secrets;
mod services;
mod support;
mod together;
