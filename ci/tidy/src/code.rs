//! Rust text with comments and literals blanked, so that a rule that looks for a word finds code.
//!
//! Not a parser: it knows comments (nested), strings, raw strings, byte strings, characters and
//! lifetimes, nothing else. Lines and columns stay where they were.

/// The same text with every comment and the content of every literal replaced by spaces. Line
/// breaks stay.
pub fn blank_comments_and_literals(text: &str) -> String {
    let mut scanner = Scanner {
        characters: text.chars().collect(),
        position: 0,
        output: String::with_capacity(text.len()),
    };
    scanner.run();
    scanner.output
}

/// The lines of a source less its inline test modules (`#[cfg(test)] mod ... { ... }`).
pub fn production_line_count(text: &str) -> usize {
    let code = blank_comments_and_literals(text);
    let lines: Vec<&str> = code.lines().collect();
    let mut count = 0;
    let mut index = 0;
    while index < lines.len() {
        match test_module_end(&lines, index) {
            Some(end) => index = end + 1,
            None => {
                count += 1;
                index += 1;
            }
        }
    }
    count
}

/// The last line of the test module that starts at `start`, if one does.
fn test_module_end(lines: &[&str], start: usize) -> Option<usize> {
    if !lines[start].trim_start().starts_with("#[cfg(test)]") {
        return None;
    }
    let mut head = start;
    while !has_word(lines.get(head)?, "mod") {
        let line = lines[head].trim();
        if !(line.is_empty() || line.starts_with("#[")) {
            return None;
        }
        head += 1;
    }
    let mut depth = 0_i32;
    for (index, line) in lines.iter().enumerate().skip(head) {
        for character in line.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 => return Some(index),
                _ => {}
            }
        }
        if depth == 0 && line.contains('}') {
            return Some(index);
        }
    }
    None
}

/// True if the line holds the word, alone: not as a part of an identifier.
pub fn has_word(line: &str, word: &str) -> bool {
    line.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .any(|part| part == word)
}

struct Scanner {
    characters: Vec<char>,
    position: usize,
    output: String,
}

impl Scanner {
    fn run(&mut self) {
        while let Some(character) = self.peek(0) {
            match character {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                'r' | 'b' | 'c' if !self.follows_identifier() => self.prefixed(),
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.position + ahead).copied()
    }

    fn follows_identifier(&self) -> bool {
        self.position
            .checked_sub(1)
            .and_then(|before| self.characters.get(before))
            .is_some_and(|character| character.is_alphanumeric() || *character == '_')
    }

    fn keep(&mut self) {
        if let Some(character) = self.peek(0) {
            self.output.push(character);
            self.position += 1;
        }
    }

    fn blank(&mut self) {
        if let Some(character) = self.peek(0) {
            self.output.push(if character == '\n' { '\n' } else { ' ' });
            self.position += 1;
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|character| character != '\n') {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.blank();
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.blank();
                }
                _ => {}
            }
            self.blank();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while let Some(character) = self.peek(0) {
            match character {
                '\\' => {
                    self.blank();
                    self.blank();
                }
                '"' => return self.keep(),
                _ => self.blank(),
            }
        }
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        let is_character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.keep();
        if !is_character {
            return;
        }
        while let Some(character) = self.peek(0) {
            match character {
                '\\' => {
                    self.blank();
                    self.blank();
                }
                '\'' => return self.keep(),
                _ => self.blank(),
            }
        }
    }

    /// What may be the prefix of a literal: `r`, `b`, `c`, `br`, `cr`.
    fn prefixed(&mut self) {
        let mut ahead = 1;
        if self.peek(0) != Some('r') && self.peek(1) == Some('r') {
            ahead = 2;
        }
        let raw = self.peek(ahead - 1) == Some('r');
        let mut hashes = 0;
        while raw && self.peek(ahead + hashes) == Some('#') {
            hashes += 1;
        }
        if raw && self.peek(ahead + hashes) == Some('"') {
            for _ in 0..=ahead + hashes {
                self.keep();
            }
            self.raw_string(hashes);
        } else {
            self.keep(); // a plain identifier, or a prefix whose quote comes next
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        while let Some(character) = self.peek(0) {
            let closes =
                character == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                for _ in 0..=hashes {
                    self.keep();
                }
                return;
            }
            self.blank();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(blank_comments_and_literals(text), expected);
    }

    #[test]
    fn comments_go() {
        check("a // unsafe\nb", "a          \nb");
        check("a /* x /* y */ z */ b", "a                   b");
    }

    #[test]
    fn literals_go() {
        check(r#"f("unsafe \" x")"#, r#"f("           ")"#);
        check(r##"f(r#"a " b"#)"##, r##"f(r#"     "#)"##);
        check(r#"b"unsafe""#, r#"b"      ""#);
        check(r"'\'' 'x' b'{'", r"'  ' ' ' b' '");
    }

    #[test]
    fn lifetimes_and_identifiers_stay() {
        check("fn f<'a>(r: &'a str) {}", "fn f<'a>(r: &'a str) {}");
        check("for bar in r#type {}", "for bar in r#type {}");
    }

    #[test]
    fn test_modules_do_not_count() {
        let text = "a\nb\n#[cfg(test)]\nmod tests {\n    fn f() { \"}\"; }\n}\nc\n";
        assert_eq!(production_line_count(text), 3);
        assert_eq!(production_line_count("#[cfg(test)]\nmod tests;\nc\n"), 1);
        assert_eq!(production_line_count("#[cfg(test)]\nuse x;\nc\n"), 3);
    }

    #[test]
    fn a_word_is_not_a_part_of_one() {
        assert!(has_word("pub unsafe fn", "unsafe"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
    }
}
