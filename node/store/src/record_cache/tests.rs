//! The cache against a plain map, and what stays in it.

use super::*;

fn address(number: u64) -> RecordAddress {
    RecordAddress::from_packed(number * 4 + 4).unwrap()
}

const LIFE: Life = Life::new(3);

fn cache(limit_bytes: u64) -> RecordCache {
    RecordCache::new(limit_bytes).unwrap().unwrap()
}

fn content(number: u64, length: usize) -> Vec<u8> {
    (0_u64..)
        .map(|at| (number.wrapping_mul(31) + at).to_le_bytes()[0])
        .take(length)
        .collect()
}

fn record(number: u64) -> Vec<u8> {
    content(number, 200)
}

fn check_bound(cache: &RecordCache) {
    let statistics = cache.statistics();
    assert!(statistics.used_bytes <= statistics.limit_bytes);
    let queued = cache.slots.bytes_of(Queue::Main) + cache.slots.bytes_of(Queue::Probation);
    assert_eq!(queued + cache.tables_bytes, statistics.used_bytes);
}

#[test]
fn too_small_a_limit_is_no_cache() {
    assert!(RecordCache::new(0).unwrap().is_none());
    assert!(RecordCache::new(500).unwrap().is_none());
    assert!(RecordCache::new(1 << 20).unwrap().is_some());
}

#[test]
fn a_record_is_found_by_place_and_life() {
    let mut cache = cache(1 << 20);
    cache.insert(address(1), LIFE, b"one");
    assert_eq!(cache.get(address(1), LIFE).as_deref(), Some(&b"one"[..]));
    assert_eq!(cache.get(address(1), Life::new(4)), None);
    assert_eq!(cache.get(address(2), LIFE), None);
    cache.insert(address(1), Life::new(4), b"of another life");
    assert_eq!(cache.get(address(1), LIFE), None);
    assert_eq!(cache.statistics().records, 1);
    assert_eq!(cache.statistics().hits, 1);
    assert_eq!(cache.remove(address(1)), Some(Queue::Probation));
    assert_eq!(cache.remove(address(1)), None);
    assert_eq!(cache.statistics().used_bytes, cache.tables_bytes);
}

#[test]
fn bytes_handed_out_outlive_their_eviction() {
    let mut cache = cache(1 << 20);
    cache.insert(address(1), LIFE, b"one");
    let held = cache.get(address(1), LIFE).unwrap();
    cache.remove(address(1));
    assert_eq!(&*held, b"one");
}

#[test]
fn random_traffic_agrees_with_a_map_and_stays_within_the_limit() {
    let mut cache = cache(256 << 10);
    let mut map = std::collections::HashMap::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut found = 0;
    for round in 0..60_000_u64 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let number = (state >> 8) % 700;
        match state % 8 {
            0 | 1 => {
                let bytes = content(round, usize::try_from((state >> 32) % 2000).unwrap());
                cache.insert(address(number), LIFE, &bytes);
                map.insert(number, bytes);
            }
            2 => {
                let bytes = content(round, 90);
                let old = (state >> 40) % 700;
                cache.insert_written((address(number), LIFE), Some(address(old)), &bytes);
                map.remove(&old);
                map.insert(number, bytes);
            }
            3 => {
                cache.remove(address(number));
                map.remove(&number);
            }
            4 => {
                let peeked = cache.peek(address(number), LIFE);
                assert!(peeked.is_none_or(|bytes| Some(&*bytes) == map.get(&number).map(|b| &**b)));
            }
            _ => {
                if let Some(bytes) = cache.get(address(number), LIFE) {
                    found += 1;
                    assert_eq!(Some(&*bytes), map.get(&number).map(|bytes| &**bytes));
                }
            }
        }
        check_bound(&cache);
    }
    assert!(found > 1000 && cache.statistics().evictions > 1000);
    for number in 0..700 {
        cache.remove(address(number));
    }
    assert_eq!(cache.statistics().used_bytes, cache.tables_bytes);
    assert_eq!(cache.statistics().records, 0);
}

/// Keys that are read once must not push out those that are read again and again.
#[test]
fn keys_that_are_read_once_leave_the_hot_ones_alone() {
    let mut cache = cache(1 << 20);
    let hot = 0..1000_u64;
    for number in hot.clone() {
        cache.insert(address(number), LIFE, &record(number));
        cache.get(address(number), LIFE);
    }
    for number in 10_000..100_000 {
        cache.insert(address(number), LIFE, &record(number));
        if number % 4 == 0 {
            let again = address(number / 4 % 1000);
            if cache.get(again, LIFE).is_none() {
                cache.insert(again, LIFE, &record(number / 4 % 1000));
            }
        }
        check_bound(&cache);
    }
    let kept = hot.filter(|number| cache.peek(address(*number), LIFE).is_some());
    assert!(kept.count() >= 990);
}

#[test]
fn what_comes_back_soon_enters_the_main_queue() {
    let mut cache = cache(256 << 10);
    cache.insert(address(1), LIFE, &record(1));
    let mut number = 10;
    while cache.peek(address(1), LIFE).is_some() {
        cache.insert(address(number), LIFE, &record(number));
        number += 1;
    }
    cache.insert(address(1), LIFE, &record(1));
    assert_eq!(cache.remove(address(1)), Some(Queue::Main));
}

/// All of a full cache has been used as often as is counted: one insertion must not walk over all of it.
#[test]
fn one_insertion_looks_at_few_records() {
    let mut cache = cache(4 << 20);
    let mut number = 0;
    while cache.statistics().evictions == 0 {
        cache.insert(address(number), LIFE, &record(number));
        number += 1;
    }
    for _ in 0..3 {
        for used in 0..number {
            cache.get(address(used), LIFE);
        }
    }
    let before = cache.slots.bytes_of(Queue::Main);
    cache.insert(address(number), LIFE, &record(number));
    let moved = cache.slots.bytes_of(Queue::Main) - before;
    assert!(moved <= u64::from(CACHE_LOOKS_MAX) * cost_bytes(200));
    assert_eq!(cache.statistics().evictions, 2);
}

#[test]
fn a_record_that_would_crowd_out_many_is_left_out() {
    let mut cache = cache(64 << 20);
    cache.insert(address(1), LIFE, &content(1, CACHED_RECORD_BYTES_MAX + 1));
    assert_eq!(cache.statistics().records, 0);
    cache.insert(address(1), LIFE, &content(1, CACHED_RECORD_BYTES_MAX));
    assert_eq!(cache.statistics().records, 1);
    // A longer version must not leave the shorter one behind.
    cache.insert(address(1), LIFE, &content(1, CACHED_RECORD_BYTES_MAX + 1));
    assert_eq!(cache.statistics().records, 0);
}

#[test]
fn a_new_version_stands_where_the_old_one_stood() {
    let mut cache = cache(256 << 10);
    cache.insert_written((address(1), LIFE), None, &record(1));
    let mut number = 10;
    cache.get(address(1), LIFE);
    while cache.slots.bytes_of(Queue::Main) == 0 {
        cache.insert(address(number), LIFE, &record(number));
        number += 1;
    }
    cache.insert_written((address(2), LIFE), Some(address(1)), &record(2));
    assert_eq!(cache.peek(address(1), LIFE), None);
    assert_eq!(cache.remove(address(2)), Some(Queue::Main));
}
