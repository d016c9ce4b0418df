//! Everything of this workspace that is `unsafe`: memory that a device writes to, and calls that take
//! pointers. What leaves this folder is safe to call with any arguments: each type here keeps the
//! facts that its blocks rely on private. `memory` makes no system call, so that memory checkers see
//! all that it does.

#[cfg(test)]
pub(crate) mod allocation_count;
pub(crate) mod block_query;
pub(crate) mod fetch;
pub(crate) mod handover;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod operation;
pub(crate) mod receive_ring;
pub(crate) mod ring;
pub(crate) mod shared_memory;
pub(crate) mod slots;
