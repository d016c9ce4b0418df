//! The list of seeds that have failed once: `seeds.txt` beside this crate's manifest. Every line is run
//! again by a test, so that no failure comes back unnoticed.
//!
//! A line is `profile seed cuts`, then anything: what it was. `profile+truncate` is a run with truncations, `profile+buffered`
//! one with buffered writes, `+scrub` one in which the store scrubs, `+follow` one in which
//! its logs are followed, `profile+crowded` one on drives that are nearly full (before
//! the others). Empty lines and those that begin with `#` say nothing.

use crate::scenario::{Profile, Scenario};

/// A line that is not a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What stands there.
    pub text: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, text } = self;
        write!(
            formatter,
            "line {number} is not \"profile seed cuts\": {text:?}"
        )
    }
}

impl std::error::Error for BadLine {}

/// The scenarios of a list.
pub fn parse(list: &str) -> Result<Vec<Scenario>, BadLine> {
    let mut scenarios = Vec::new();
    for (number, line) in (1..).zip(list.lines()) {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let scenario = scenario(text);
        scenarios.push(scenario.ok_or_else(|| BadLine {
            number,
            text: text.to_owned(),
        })?);
    }
    Ok(scenarios)
}

fn scenario(line: &str) -> Option<Scenario> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut more = name.split('+');
    let profile: Profile = more.next()?.parse().ok()?;
    let seed = words.next()?.parse().ok()?;
    let cuts = words.next()?.parse().ok()?;
    more.try_fold(
        Scenario::new(seed, profile, cuts),
        |scenario, word| match word {
            "truncate" => Some(scenario.with_truncation()),
            "buffered" => Some(scenario.with_buffered()),
            "scrub" => Some(scenario.with_scrub()),
            "follow" => Some(scenario.with_follower()),
            "crowded" => Some(scenario.with_crowd()),
            "expire" => Some(scenario.with_expiry()),
            _ => None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seeds_with_remarks() {
        let list = "# a comment\n\nhonest 17 200 lost a record\n  media 4 9\n";
        let scenarios = parse(list).unwrap();
        let found: Vec<_> = scenarios
            .iter()
            .map(|run| (run.profile, run.seed, run.cuts))
            .collect();
        assert_eq!(found, [(Profile::Honest, 17, 200), (Profile::Media, 4, 9)]);
        assert!(!scenarios[0].truncates());
        let truncating = parse("errors+truncate 5 10 what it was").unwrap();
        assert_eq!(truncating[0].profile, Profile::Errors);
        assert!(truncating[0].truncates());
    }

    #[test]
    fn other_lines_are_refused_with_their_number() {
        for bad in ["17 200", "honest x 200", "honest 17", "sometimes 17 200"] {
            let list = format!("honest 1 1\n{bad}\n");
            assert_eq!(
                parse(&list).unwrap_err(),
                BadLine {
                    number: 2,
                    text: bad.to_owned()
                }
            );
        }
    }
}
