//! The file against the defaults, its faults, flags over it, and what changes live.

use std::num::NonZeroU32;
use std::path::Path;

use clap::Parser;

use super::*;

/// The documented sample.
const SAMPLE: &str = include_str!("../../corelithd.toml");

fn read(text: &str) -> Configuration {
    let mut configuration = Configuration::default();
    let read = configuration.read(text);
    assert_eq!(read, Ok(()), "{text}");
    configuration
}

/// What is said of a file, a line each.
fn problems(text: &str) -> Vec<String> {
    let found = Configuration::default().read(text).unwrap_err();
    found.iter().map(document::Problem::to_string).collect()
}

fn load(arguments: &[&str], text: &str) -> Result<Configuration, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corelithd.toml");
    std::fs::write(&path, text).unwrap();
    let given = ["corelithd", "--config", path.to_str().unwrap()];
    let options = Options::parse_from([&given[..], arguments].concat());
    Configuration::load(&options).map_err(|error| error.to_string())
}

#[test]
fn the_sample_says_the_defaults() {
    let mut expected = Configuration::default();
    expected.namespaces[0].name = Some("test".to_owned());
    assert_eq!(read(SAMPLE), expected);
    assert_eq!(load(&[], SAMPLE), Ok(expected));
}

#[test]
fn the_sample_has_every_key_and_marks_the_live_ones() {
    let mut configuration = read(SAMPLE);
    configuration.namespaces[0].devices = vec!["/dev/nvme0n1".into()];
    for setting in configuration.settings() {
        let name = setting.path.rsplit('.').next().unwrap();
        let at = SAMPLE.lines().position(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{name} = "))
        });
        let at = at.unwrap_or_else(|| panic!("{name} is not in the sample"));
        let lines: Vec<&str> = SAMPLE.lines().take(at).collect();
        let comment = lines.iter().rev().take_while(|line| line.starts_with('#'));
        let is_marked = comment.clone().any(|line| line.ends_with("(live)"));
        assert!(comment.count() > 0, "{name} is not explained");
        assert_eq!(is_marked, setting.is_live, "{name}");
    }
}

#[test]
fn a_configuration_that_is_written_out_reads_the_same() {
    let text = r#"
        [node]
        listen = "[::1]:5100"
        cores = "0-2,5"
        memory_limit = "8 GiB"
        [log]
        level = "debug"
        format = "json"
        [namespace.payments]
        devices = ["/dev/a", "/dev/\"odd\" \\ one"]
        shards = 12
        commit = "optional"
        flush_interval = "20 ms"
        [namespace."with blank"]
        file = "some/where"
        size = "512 MiB"
        record_cache = "96 MiB"
        durability = "fua"
        default_ttl = "12 h"
        ttl_max = "30 d"
        scrub_rate = "2 MiB"
        record_size_max = "64 KiB"
    "#;
    let configuration = read(text);
    assert_eq!(configuration.cores, CoreChoice::Cpus(vec![0, 1, 2, 5]));
    let blank = &configuration.namespaces[1];
    assert_eq!(blank.name(), "with blank");
    assert_eq!(blank.lifetimes.default_s, NonZeroU32::new(43_200));
    assert_eq!(blank.record_bytes_max, Some(64 << 10));
    assert_eq!(blank.record_cache_bytes, 96 << 20);
    assert_eq!(configuration.namespaces[0].record_cache_bytes, 0);
    let written: String = configuration
        .settings()
        .iter()
        .map(|setting| {
            let path = setting.path.replace("with blank", "\"with blank\"");
            format!("{path} = {}\n", setting.value)
        })
        .collect();
    assert_eq!(read(&written), configuration, "{written}");
}

#[test]
fn a_record_cache_is_given_by_file_or_flag_and_not_to_what_is_in_memory() {
    let on_device = "[namespace.a]\nfile = \"f\"\nrecord_cache = \"1 GiB\"\n";
    let by_file = load(&[], on_device).unwrap();
    assert_eq!(by_file.namespaces[0].record_cache_bytes, 1 << 30);
    let by_flag = load(&["--record-cache", "2M"], on_device).unwrap();
    assert_eq!(by_flag.namespaces[0].record_cache_bytes, 2 << 20);
    let in_memory = "[namespace.a]\nstorage = \"memory\"\n";
    assert!(load(&[], in_memory).is_ok());
    let error = load(&["--record-cache", "2M"], in_memory).unwrap_err();
    assert!(error.contains("record_cache"), "{error}");
}

#[test]
fn unknown_keys_are_answered_with_the_nearest_and_their_line() {
    let text = "[node]\nlisen = \"127.0.0.1:1\"\n\n[nod]\n[namespace.a]\nfile = \"f\"\ndefault_tll = \"1 d\"\nqqq = 1\n";
    let found = problems(text);
    let expected = [
        "line 2: there is no key \"lisen\": did you mean \"listen\"?",
        "line 4: there is no key \"nod\": did you mean \"node\"?",
        "line 7: there is no key \"default_tll\": did you mean \"default_ttl\"?",
        "line 8: there is no key \"qqq\" here; there are storage, devices, file, size",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn values_that_a_key_does_not_take_are_answered_with_what_it_takes() {
    for (text, expected) in [
        (
            "[node]\nlisten = 4100",
            "line 2: node.listen takes an address",
        ),
        (
            "[node]\ncores = 0",
            "line 2: node.cores takes a number of cores",
        ),
        ("[node]\ncores = \"3-1\"", "line 2: node.cores takes"),
        (
            "[node]\nmemory_limit = 17",
            "line 2: node.memory_limit takes a size",
        ),
        (
            "[node]\nconnections_per_core_max = 0",
            "line 2: node.connections_per_core_max takes",
        ),
        (
            "[node]\nhello_timeout = \"99 ms\"",
            "line 2: node.hello_timeout takes a time from \"100 ms\"",
        ),
        (
            "\n\n[log]\n\nlevel = \"loud\"",
            "line 5: log.level takes \"error\"",
        ),
        (
            "[namespace.a]\nsize = \"4 GB\"",
            "line 2: size takes a size such as \"4 GiB\"",
        ),
        (
            "[namespace.a]\ndevices = \"/dev/a\"",
            "line 2: devices takes a list",
        ),
        (
            "[namespace.a]\nshards = 257",
            "line 2: shards takes a number from 1 to 256",
        ),
        (
            "[namespace.a]\nflush_interval = \"2 s\"",
            "line 2: flush_interval takes",
        ),
        (
            "[namespace.a]\ndefault_ttl = \"11 y\"",
            "line 2: default_ttl takes",
        ),
        (
            "[namespace.a]\ndefault_ttl = \"3651 d\"",
            "line 2: default_ttl takes",
        ),
        (
            "[namespace.a]\nscrub_rate = \"1 KiB\"",
            "line 2: scrub_rate takes",
        ),
        (
            "[namespace.a]\nrecord_size_max = \"9 MiB\"",
            "line 2: record_size_max takes",
        ),
        ("namespace = 1", "line 1: there is no key \"namespace\""),
        ("[namespace]\na = 1", "line 2: namespace.a takes a table"),
        ("[node]\nlisten = ", "line 2: this is not TOML"),
    ] {
        let found = problems(text);
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, expected) in [
        ("[node]\nlisten = \"0.0.0.0:4100\"", "allow_unauthenticated"),
        (
            "[namespace.a]",
            "namespace \"a\": say where its records are",
        ),
        (
            "[namespace.a]\nfile = \"f\"\ndevices = [\"d\"]",
            "with one of devices",
        ),
        (
            "[namespace.a]\nfile = \"f\"\nttl_max = \"1 d\"",
            "default_ttl must be given",
        ),
        (
            "[namespace.a]\nfile = \"f\"\nttl_max = \"1 d\"\ndefault_ttl = \"2 d\"",
            "be no longer",
        ),
        (
            "[namespace.a]\nfile = \"f\"\n[namespace.b]\ndevices = [\"f\"]",
            "f is named for the namespace \"a\" and for \"b\"",
        ),
        (
            "[namespace.a-name-that-is-longer-than-one-may-be]\nfile = \"f\"",
            "it has 1 to 31 bytes",
        ),
    ] {
        let error = load(&[], text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let open = load(
        &[],
        "[node]\nlisten = \"0.0.0.0:4100\"\nallow_unauthenticated = true",
    );
    assert!(open.unwrap().allow_unauthenticated);
}

#[test]
fn flags_are_laid_over_the_file() {
    let one = "[node]\ncores = 3\n[namespace.a]\nfile = \"f\"\ndefault_ttl = \"1 h\"\n";
    let flags = [
        "--listen",
        "127.0.0.1:7000",
        "--default-ttl",
        "1d",
        "--device",
        "d",
    ];
    let configuration = load(&flags, one).unwrap();
    assert_eq!(configuration.listen.port(), 7000);
    assert_eq!(configuration.cores, CoreChoice::Count(3));
    let namespace = &configuration.namespaces[0];
    assert_eq!(namespace.lifetimes.default_s, NonZeroU32::new(86_400));
    assert_eq!(
        (namespace.devices.as_slice(), &namespace.file),
        (&["d".into()][..], &None)
    );
    let two = format!("{one}[namespace.b]\nfile = \"g\"\n");
    let error = load(&["--cores", "1", "--size", "1G"], &two).unwrap_err();
    assert!(
        error.contains("2 namespaces") && error.contains("--size"),
        "{error}"
    );
    assert_eq!(
        load(&["--cores", "1"], &two).unwrap().cores,
        CoreChoice::Count(1)
    );
}

#[test]
fn without_a_file_the_defaults_hold() {
    let options = Options::parse_from(["corelithd", "--data-dir", "there"]);
    let configuration = Configuration::load(&options).unwrap();
    let namespace = &configuration.namespaces[0];
    assert_eq!(
        namespace.file.as_deref(),
        Some(Path::new("there/volume.corelith"))
    );
    assert_eq!((&namespace.name, namespace.size_bytes), (&None, 4 << 30));
}

#[test]
fn live_keys_are_taken_and_the_others_named() {
    let text = "[node]\ncores = 2\n[namespace.a]\nfile = \"f\"\ndefault_ttl = \"1 h\"\n[namespace.b]\nfile = \"g\"\n";
    let mut current = read(text);
    assert_eq!(current.take(&read(text)), Reload::default());
    let other = "[node]\ncores = 1\nconnections_per_core_max = 7\n[namespace.a]\nfile = \"f\"\n\
                 default_ttl = \"2 h\"\nrecord_size_max = \"1 KiB\"\n[namespace.c]\nfile = \"h\"\n";
    let reload = current.take(&read(other));
    let paths = |settings: &[keys::Setting]| -> Vec<String> {
        settings
            .iter()
            .map(|setting| setting.path.clone())
            .collect()
    };
    assert_eq!(
        paths(&reload.changed),
        [
            "node.connections_per_core_max",
            "namespace.a.default_ttl",
            "namespace.a.record_size_max"
        ]
    );
    assert!(paths(&reload.restart).contains(&"node.cores".to_owned()));
    assert!(paths(&reload.restart).contains(&"namespace.c.default_ttl".to_owned()));
    assert!(paths(&reload.gone).contains(&"namespace.b.file".to_owned()));
    assert_eq!(current.cores, CoreChoice::Count(2));
    assert_eq!(current.connections_per_core_max, 7);
    let live = current.live();
    let (name, policy) = &live.policies[0];
    assert_eq!(name.as_deref(), Some("a"));
    assert_eq!(policy.lifetimes.default_s, NonZeroU32::new(7200));
    assert_eq!(policy.record_bytes_max, Some(1024));
}
