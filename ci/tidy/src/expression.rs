//! Integer expressions, as the constants of a format use them.
//!
//! Knows literals, arithmetic in Rust's order, names, `size_of` of a primitive, `from_le_bytes` of
//! a byte string, and constructors of one argument and methods of none, which it takes for their
//! argument. Anything else has no value: it answers nothing rather than guess.

/// The value of an expression; `look_up` knows the names. None where it holds what no format
/// constant needs.
pub fn integer(text: &str, look_up: &dyn Fn(&str) -> Option<i128>) -> Option<i128> {
    let mut expression = Expression {
        tokens: tokens(text)?,
        position: 0,
        look_up,
    };
    let value = expression.alternatives()?;
    (expression.position == expression.tokens.len()).then_some(value)
}

/// An integer literal, in any base, with or without `_` and a type.
pub fn number(word: &str) -> Option<i128> {
    let plain = word.replace('_', "");
    let mut plain = plain.as_str();
    for kind in [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    ] {
        plain = plain.strip_suffix(kind).unwrap_or(plain);
    }
    if let Some(digits) = plain.strip_prefix("0x") {
        i128::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = plain.strip_prefix("0b") {
        i128::from_str_radix(digits, 2).ok()
    } else {
        plain.parse().ok()
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Number(i128),
    Path(String),
    Bytes(Vec<u8>),
    Symbol(char),
}

/// None where the text has a character that no format constant needs.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(&character) = characters.get(position) {
        let start = position;
        let is_bytes = character == 'b' && characters.get(position + 1) == Some(&'"');
        if character.is_whitespace() {
            position += 1;
        } else if is_bytes {
            position += 2;
            while *characters.get(position)? != '"' {
                position += 1;
            }
            let content: String = characters[start + 2..position].iter().collect();
            if content.contains('\\') {
                return None;
            }
            tokens.push(Token::Bytes(content.into_bytes()));
            position += 1;
        } else if character.is_alphanumeric() || character == '_' {
            while characters
                .get(position)
                .is_some_and(|next| next.is_alphanumeric() || "_:".contains(*next))
            {
                position += 1;
            }
            let word: String = characters[start..position].iter().collect();
            tokens.push(if character.is_ascii_digit() {
                Token::Number(number(&word)?)
            } else {
                Token::Path(word)
            });
        } else if "+-*/|&()<>.,".contains(character) {
            tokens.push(Token::Symbol(character));
            position += 1;
        } else {
            return None;
        }
    }
    Some(tokens)
}

struct Expression<'names> {
    tokens: Vec<Token>,
    position: usize,
    look_up: &'names dyn Fn(&str) -> Option<i128>,
}

impl Expression<'_> {
    fn next_is(&self, symbol: char) -> bool {
        self.tokens.get(self.position) == Some(&Token::Symbol(symbol))
    }

    fn take(&mut self, symbol: char) -> Option<()> {
        self.next_is(symbol).then(|| self.position += 1)
    }

    /// Weakest: `a | b`.
    fn alternatives(&mut self) -> Option<i128> {
        let mut value = self.shifts()?;
        while self.take('|').is_some() {
            value |= self.shifts()?;
        }
        Some(value)
    }

    fn shifts(&mut self) -> Option<i128> {
        let mut value = self.sum()?;
        while self.take('<').is_some() {
            self.take('<')?;
            value = value.checked_shl(u32::try_from(self.sum()?).ok()?)?;
        }
        Some(value)
    }

    fn sum(&mut self) -> Option<i128> {
        let mut value = self.product()?;
        loop {
            if self.take('+').is_some() {
                value = value.checked_add(self.product()?)?;
            } else if self.take('-').is_some() {
                value = value.checked_sub(self.product()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<i128> {
        let mut value = self.term()?;
        loop {
            if self.take('*').is_some() {
                value = value.checked_mul(self.term()?)?;
            } else if self.take('/').is_some() {
                value = value.checked_div(self.term()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn term(&mut self) -> Option<i128> {
        let value = match self.tokens.get(self.position)?.clone() {
            Token::Number(value) => {
                self.position += 1;
                value
            }
            Token::Symbol('(') => self.parenthesised()?,
            Token::Symbol('-') => {
                self.position += 1;
                -self.term()?
            }
            Token::Path(path) => {
                self.position += 1;
                self.path(&path)?
            }
            Token::Bytes(_) | Token::Symbol(_) => return None,
        };
        while self.tokens.get(self.position) == Some(&Token::Path("as".to_owned())) {
            self.position += 2; // the type changes nothing that a format constant may hold
        }
        // A method such as `.get()` unwraps a newtype.
        while self.next_is('.')
            && matches!(self.tokens.get(self.position + 1), Some(Token::Path(_)))
        {
            self.position += 2;
            self.take('(')?;
            self.take(')')?;
        }
        Some(value)
    }

    fn parenthesised(&mut self) -> Option<i128> {
        self.take('(')?;
        let value = self.alternatives()?;
        self.take(')')?;
        Some(value)
    }

    fn path(&mut self, path: &str) -> Option<i128> {
        let last = path.rsplit("::").find(|part| !part.is_empty())?;
        if last == "size_of" {
            return self.size_of();
        }
        if last == "from_le_bytes" || last == "from_be_bytes" {
            return self.integer_of_bytes(last == "from_le_bytes");
        }
        if self.next_is('(') {
            return self.parenthesised(); // a constructor of one argument
        }
        if path.contains("::") && last == "MAX" {
            let bits = match path {
                "u8::MAX" => 8,
                "u16::MAX" => 16,
                "u32::MAX" => 32,
                "u64::MAX" => 64,
                _ => return None,
            };
            return Some((1_i128 << bits) - 1);
        }
        (self.look_up)(last)
    }

    fn size_of(&mut self) -> Option<i128> {
        self.take('<')?;
        let Some(Token::Path(kind)) = self.tokens.get(self.position).cloned() else {
            return None;
        };
        self.position += 1;
        self.take('>')?;
        self.take('(')?;
        self.take(')')?;
        match kind.trim_start_matches(['u', 'i']) {
            "8" => Some(1),
            "16" => Some(2),
            "32" => Some(4),
            "64" => Some(8),
            "128" => Some(16),
            _ => None,
        }
    }

    fn integer_of_bytes(&mut self, little_endian: bool) -> Option<i128> {
        self.take('(')?;
        self.take('*')?;
        let Some(Token::Bytes(mut bytes)) = self.tokens.get(self.position).cloned() else {
            return None;
        };
        self.position += 1;
        self.take(')')?;
        if little_endian {
            bytes.reverse();
        }
        (bytes.len() <= 8).then(|| {
            bytes
                .iter()
                .fold(0, |value, byte| (value << 8) | i128::from(*byte))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i128>) {
        let names = |name: &str| (name == "BASE").then_some(16);
        assert_eq!(integer(text, &names), expected, "{text}");
    }

    #[test]
    fn what_format_constants_are_made_of() {
        for (text, value) in [
            ("8", 8),
            ("0x10_00u32", 4096),
            ("0b101", 5),
            ("BASE + 4", 20),
            ("Self::BASE + size_of::<u64>()", 24),
            ("DeviceOffset::new(BASE)", 16),
            ("BASE.get()", 16),
            ("BASE as u64 + 1", 17),
            ("u16::MAX", 65535),
            ("u16::from_le_bytes(*b\"AB\")", 0x4241),
            ("u16::from_be_bytes(*b\"AB\")", 0x4142),
        ] {
            check(text, Some(value));
        }
    }

    #[test]
    fn operators_bind_as_in_rust() {
        for (text, value) in [
            ("2 + 3 * 4", 14),
            ("4 * (BASE - 1) / 2", 30),
            ("10 - 2 - 3", 5),
            ("1 << 4 + 1", 32),
            ("1 << 4 | 1 << 1", 18),
            ("-(2 + 1)", -3),
        ] {
            check(text, Some(value));
        }
    }

    #[test]
    fn no_value_rather_than_a_wrong_one() {
        for text in [
            "UNKNOWN", "[0; 4]", "*b\"AB\"", "f(1, 2)", "1 / 0", "8 +", "a ^ b", "1 & 3", "",
        ] {
            check(text, None);
        }
    }
}
