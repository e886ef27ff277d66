//! `verify`: all damage is found and named, none is invented, and a repair removes nothing.

mod command;
mod damaged;
mod drift;
mod gaps;
mod month;
mod nights;
mod repair;
