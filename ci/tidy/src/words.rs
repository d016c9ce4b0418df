//! Words, markers, paths, host names and characters that the tree does not hold.
//!
//! The repository speaks of the product to its users: not of how or where it was made, not with
//! one word for two ideas, and with no unfinished work that only a marker remembers.

use crate::finding::Finding;
use crate::rules::{
    ASCII_ONLY, BANNED_WORDS, FOREIGN_TEXT, MACHINE_PATHS, REGISTRY_HOSTS, TO_DO_MARKERS,
    WORD_EXCEPTIONS,
};
use crate::tree::{File, Tree};

/// What to do about a finding of [`check_words`].
pub const WORDS_REMEDY: &str = "say it in the glossary's words. Where the word is somebody else's \
(a field of a foreign protocol), add an exception with its reason in ci/tidy/src/rules.rs.";

/// What to do about a finding of [`check_markers`].
pub const MARKERS_REMEDY: &str = "finish it, or open an issue and leave the marker out; what is \
not built yet stands in docs/STATUS.md.";

/// What to do about a finding of [`check_places`].
pub const PLACES_REMEDY: &str = "use a path relative to the repository, an environment variable \
or a temporary folder; leave host names to the tools' own configuration.";

/// What to do about a finding of [`check_ascii`].
pub const ASCII_REMEDY: &str = "write it in ASCII: an escape in a literal, a word in a comment.";

/// Banned words, as whole words in any case.
pub fn check_words(tree: &Tree) -> Vec<Finding> {
    in_own_lines(tree, |file, line| {
        let words = words(line);
        BANNED_WORDS
            .iter()
            .filter(|banned| {
                words
                    .iter()
                    .any(|word| *word == banned.word || word.strip_suffix('s') == Some(banned.word))
            })
            .filter(|banned| {
                !WORD_EXCEPTIONS
                    .iter()
                    .any(|allowed| allowed.path == file.path && allowed.word == banned.word)
            })
            .map(|banned| format!("says `{}`: {}", banned.word, banned.reason))
            .collect()
    })
}

/// Markers of unfinished work.
pub fn check_markers(tree: &Tree) -> Vec<Finding> {
    in_own_lines(tree, |_, line| {
        line.split(|character: char| !character.is_alphanumeric())
            .filter(|word| TO_DO_MARKERS.contains(word))
            .map(|word| format!("has the marker {word}"))
            .collect()
    })
}

/// Absolute paths of a machine and host names of registries.
pub fn check_places(tree: &Tree) -> Vec<Finding> {
    in_own_lines(tree, |_, line| {
        let paths = MACHINE_PATHS
            .iter()
            .filter(|path| holds_absolute(line, path))
            .map(|path| format!("holds a path of one machine, {path}"));
        let hosts = REGISTRY_HOSTS
            .iter()
            .filter(|host| line.contains(*host))
            .map(|host| format!("holds the host name {host}"));
        paths.chain(hosts).collect()
    })
}

/// Characters outside ASCII in sources and scripts.
pub fn check_ascii(tree: &Tree) -> Vec<Finding> {
    in_own_lines(tree, |file, line| {
        let is_source =
            ASCII_ONLY.iter().any(|end| file.path.ends_with(end)) || !file.name().contains('.');
        line.chars()
            .filter(|character| is_source && !character.is_ascii())
            .take(1)
            .map(|character| format!("holds U+{:04X}", u32::from(character)))
            .collect()
    })
}

fn in_own_lines(tree: &Tree, rule: impl Fn(&File, &str) -> Vec<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if FOREIGN_TEXT
            .iter()
            .any(|place| file.path.starts_with(place))
        {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            for what in rule(file, line) {
                findings.push(Finding::at(&file.path, index + 1, what));
            }
        }
    }
    findings
}

/// The words of a line in lower case: split at everything that is no letter and where the case
/// changes from lower to upper.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous_is_lower = false;
    for character in line.chars() {
        let starts_hump = previous_is_lower && character.is_uppercase();
        if (!character.is_alphabetic() || starts_hump) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphabetic() {
            word.extend(character.to_lowercase());
        }
        previous_is_lower = character.is_lowercase();
    }
    words.push(word);
    words
}

/// True if the path occurs where a path begins, not in the middle of a longer one.
fn holds_absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(position, _)| {
        !line[..position]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || "._-}*~".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Tree) -> Vec<Finding>;

    fn check_one(rule: Rule, text: &str) -> usize {
        rule(&Tree::sample(&[("docs/a.md", text)])).len()
    }

    #[test]
    fn banned_words() {
        let word = BANNED_WORDS[0].word;
        let (first, rest) = word.split_at(1);
        let capital = format!("{}{rest}", first.to_uppercase());
        for text in [
            format!("one {word} more"),
            format!("two {word}s"),
            format!("struct {capital}Id"),
            format!("{word}_count"),
            format!("My{capital}"),
        ] {
            assert_eq!(check_one(check_words, &text), 1, "{text}");
        }
        assert_eq!(check_one(check_words, &format!("x{word}y and {word}ly")), 0);
    }

    #[test]
    fn markers() {
        let marker = TO_DO_MARKERS[0];
        assert_eq!(check_one(check_markers, &format!("// {marker}: later")), 1);
        assert_eq!(check_one(check_markers, &format!("{marker}(name)")), 1);
        assert_eq!(check_one(check_markers, &marker.to_lowercase()), 0);
        assert_eq!(check_one(check_markers, &format!("{marker}S")), 0);
    }

    #[test]
    fn places() {
        let path = MACHINE_PATHS[0];
        assert_eq!(check_one(check_places, &format!("cd {path}main")), 1);
        assert_eq!(check_one(check_places, &format!("`{path}main`")), 1);
        assert_eq!(check_one(check_places, &format!("target{path}x")), 0);
        assert_eq!(
            check_one(check_places, &format!("at {}", REGISTRY_HOSTS[0])),
            1
        );
    }

    #[test]
    fn characters_outside_ascii() {
        let check_file = |path: &str| check_ascii(&Tree::sample(&[(path, "a \u{2014} b\n")])).len();
        assert_eq!(check_file("io/src/a.rs"), 1);
        assert_eq!(check_file("ci/test"), 1);
        assert_eq!(check_file("README.md"), 0);
    }

    #[test]
    fn foreign_text_is_exempt() {
        let tree = Tree::sample(&[("LICENSE", TO_DO_MARKERS[0])]);
        assert_eq!(check_markers(&tree), []);
    }
}
