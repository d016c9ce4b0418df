//! What the environment has changed of the configuration, said at the start: a variable that somebody exported once for
//! something else is not seen in any file.

use std::fmt;

use crate::configuration::Configuration;
use crate::options::{Options, Variable};

/// A variable that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    variable: Variable,
    /// Key and value that hold because of it; `None` if the configuration is wrong, or the variable names the file.
    holds: Option<(String, String)>,
    /// Another value, by the file.
    file_says: Option<String>,
}

impl Told {
    /// Says it: as a warning where the file says something else.
    pub(crate) fn log(&self) {
        if self.file_says.is_some() {
            tracing::warn!("{self}");
        } else {
            tracing::info!("{self}");
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of the environment is taken",
            self.variable.name
        )?;
        if let Some((key, value)) = &self.holds {
            write!(formatter, ": {key} = {value}")?;
        }
        match &self.file_says {
            Some(value) => write!(
                formatter,
                ", where the file makes it {value}: unset the variable, or give the flag, which goes before both"
            ),
            None => Ok(()),
        }
    }
}

/// The variables that were taken, with what they changed.
pub(crate) fn told(options: &Options, configuration: Option<&Configuration>) -> Vec<Told> {
    let variables = options.from_environment.iter();
    variables
        .map(|variable| {
            let holds = value_of(variable, configuration);
            let by_file = options
                .config
                .as_ref()
                .and_then(|_| Configuration::load(&options.without_environment()).ok());
            let file_says = value_of(variable, by_file.as_ref()).filter(|_| holds.is_some());
            Told {
                variable: *variable,
                file_says: file_says
                    .filter(|says| Some(says) != holds.as_ref())
                    .map(|(_, value)| value),
                holds,
            }
        })
        .collect()
}

/// The key that a variable is about and its value.
fn value_of(
    variable: &Variable,
    configuration: Option<&Configuration>,
) -> Option<(String, String)> {
    let key = variable.key?;
    let mut settings = configuration?.settings().into_iter();
    let setting = settings.find(|setting| setting.path.ends_with(key))?;
    Some((setting.path, setting.value))
}
