//! "Did you mean": the known name that is nearest to one that is not known.

/// How alike two names must be, from 0 to 1, before one is offered for the other. Below it the offer
/// is more often wrong than right; it is clap's own bound for commands and options.
const LIKENESS_MIN: f64 = 0.7;

/// `; did you mean "integer"?`, or nothing where no name is near.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let given = given.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        // A name that was begun or abbreviated is near, however much is missing.
        let is_begun = !given.is_empty() && name.starts_with(&given);
        if is_begun {
            1.0
        } else {
            strsim::jaro(&given, &name)
        }
    };
    let near = known.into_iter().map(|name| (likeness(name), name));
    let near = near.filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    match near.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((_, name)) => format!("; did you mean {name:?}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, offered: &str) {
        let known = ["auto", "integer", "double", "string", "bool", "payments"];
        let expected = match offered {
            "" => String::new(),
            name => format!("; did you mean {name:?}?"),
        };
        assert_eq!(did_you_mean(given, known), expected, "{given}");
    }

    #[test]
    fn near_names_are_offered_and_far_ones_not() {
        check("int", "integer");
        check("Integer", "integer");
        check("strnig", "string");
        check("payment", "payments");
        check("boolean", "bool");
        check("xyz", "");
        check("", "");
    }
}
