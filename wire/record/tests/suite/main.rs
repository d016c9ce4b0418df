//! What the crate promises, tested from outside: one file a promise.

#[cfg(test)]
mod samples;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod document;
#[cfg(test)]
mod duplicates;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod large;
#[cfg(test)]
mod merge_model;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod round_trip;
