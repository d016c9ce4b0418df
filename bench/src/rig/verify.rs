//! The comparison alone, of a node that runs on the image of a replay: whether it shows what the run's node showed.

use std::fs;
use std::rc::Rc;

use crate::load::{Load, set_of, with_client_of};
use crate::oracle::Oracle;
use crate::{Failure, VerifyArguments};

/// Compares and says what was compared.
pub(super) fn run(arguments: &VerifyArguments) -> Result<String, Failure> {
    let expected = fs::read_to_string(&arguments.expected)?;
    let oracle = Oracle::of_lines(expected.lines()).map_err(Failure::Rig)?;
    let load = Rc::new(Load::new(oracle));
    with_client_of(&arguments.address, async |client| {
        let set = set_of(&client).await?;
        load.compare(&set).await
    })?;
    Ok(format!("{} keys compared", load.counts().compared))
}
