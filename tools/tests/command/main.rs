//! The program `corelith` as its users meet it: run as a process, judged by its exit code and by what
//! it writes. Volumes on files and loop devices; records against a node in memory and against `corelithd`.

mod backups;
mod configuration;
mod examples;
mod loop_devices;
mod namespaces;
mod node;
mod operators;
mod records;
mod rows;
mod tool;
mod volumes;
