//! The ports that carry messages, on real servers: the traps of the server's queues.

mod asking;
mod cluster;
mod offers;
mod owners;
mod pools;
mod restart;
mod watching;
