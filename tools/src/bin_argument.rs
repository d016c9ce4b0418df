//! `BIN=VALUE` and `BIN:TYPE=VALUE` on the command line.

use corelith_record::{BinName, Value};

use crate::given_type::GivenType;

/// A bin and the value that it shall have; nil removes it.
#[derive(Clone, PartialEq, Debug)]
pub struct BinArgument {
    /// The bin's name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl BinArgument {
    /// Reads one argument. What stands behind the last colon before the first `=` is the type;
    /// `nil` is one, too, and removes the bin.
    ///
    /// # Errors
    /// A sentence for the command line's own message.
    pub fn parse(argument: &str) -> Result<Self, String> {
        let Some((left, text)) = argument.split_once('=') else {
            return Err(format!(
                "write BIN=VALUE or BIN:TYPE=VALUE, as in {argument}=..., in one piece: quote a value with spaces"
            ));
        };
        if left.is_empty() || left.starts_with(':') {
            return Err("write the bin's name before the value, as in city=Berlin".to_owned());
        }
        let (name, kind) = left.rsplit_once(':').unwrap_or((left, "auto"));
        BinName::new(name).map_err(|error| format!("the bin's name {name:?}: {error}"))?;
        let value = match GivenType::from_name(kind) {
            Some(given) => given.parse(text).map_err(|error| error.to_string())?,
            None if kind == "nil" && text.is_empty() => Value::Nil,
            None if kind == "nil" => return Err(format!("write {name}:nil= to remove the bin")),
            None => {
                let names = GivenType::all_names();
                return Err(format!(
                    "there is no type {kind:?}{}; the types are {names} and nil. A bin's name with a colon needs \
                     its type behind it, as in {left}:string=...",
                    GivenType::nearest_name(kind)
                ));
            }
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(argument: &str, name: &str, value: impl Into<Value>) {
        let expected = BinArgument {
            name: name.to_owned(),
            value: value.into(),
        };
        assert_eq!(BinArgument::parse(argument), Ok(expected));
    }

    #[test]
    fn values_inferred_and_given() {
        check("city=Berlin", "city", "Berlin");
        check("age=31", "age", 31);
        check("age:string=31", "age", "31");
        check("age:integer=031", "age", 31);
        check("ratio=1.5", "ratio", 1.5);
        check("ok=true", "ok", true);
        check("empty=", "empty", "");
        check("formula=a=b", "formula", "a=b");
        check("a:b:string=x:y", "a:b", "x:y");
        check(
            "tags:json=[1,\"x\"]",
            "tags",
            Value::list(vec![1.into(), "x".into()]),
        );
        check("blob:hex=00ff", "blob", vec![0, 255]);
        check("old:nil=", "old", Value::Nil);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (argument, words) in [
            ("city", "BIN=VALUE"),
            ("=x", "name"),
            (":string=x", "name"),
            ("age:int=5", "no type \"int\""),
            ("age:integer=five", "not of the type integer"),
            ("old:nil=x", "old:nil="),
        ] {
            let error = BinArgument::parse(argument).unwrap_err();
            assert!(error.contains(words), "{argument}: {error}");
        }
    }
}
