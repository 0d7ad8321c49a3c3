//! The ports that carry messages, on real servers: the traps of the server's queues.

mod asking;
mod cluster;
mod owners;
mod pools;
mod restart;
mod watching;
