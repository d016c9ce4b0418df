//! The house's own rules, as tests.
//!
//! Each module below is one rule: a `check` over a [`tree::Tree`] that answers with findings, a
//! `REMEDY` that says what to do about them, and tests on bad samples that show the rule to bite.
//! `tests/house.rs` runs every rule over the real tree. What the rules allow is data, in
//! [`rules`] alone (the licences excepted: `deny.toml` is their one home).
//!
//! Never: touches the network, changes a file, or depends on a crate, ours or another's.
//!
//! Reading order: what is allowed, what is read, then the rules.

pub mod rules;

pub mod code;
pub mod constants;
pub mod expression;
pub mod finding;
pub mod manifest;
pub mod tree;

pub mod commits;
pub mod dependencies;
pub mod edges;
pub mod lengths;
pub mod licences;
pub mod links;
pub mod names;
pub mod openings;
pub mod planted;
pub mod tables;
pub mod units;
pub mod unsafety;
pub mod words;
