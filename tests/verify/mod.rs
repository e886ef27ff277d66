//! `verify`: all damage is found and named, none is invented, and a repair takes nothing away.

mod command;
mod damaged;
mod drift;
mod gaps;
mod month;
mod nights;
mod repair;
