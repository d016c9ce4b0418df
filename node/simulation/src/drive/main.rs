//! `corelith-drive`: a simulated drive behind a real driver. It serves the drive of the simulated machine as a network block
//! device on a Unix socket, so that an emulator can put it behind the block device of a guest, cuts its power when told to, and
//! replays a run from its journal. For `ci/rig`; it holds the drive in memory and never touches a real one.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use corelith_io::{DeviceOffset, to_u64};
use corelith_simulation::served_drive::journal::{JournalError, RecordedDrive, replay};
use corelith_simulation::served_drive::{Input, ServedConfig, ServedDrive};

mod nbd;
mod serve;

/// Bytes that are copied to an image at a time.
const COPY_BYTES: usize = 1 << 20;

/// A simulated drive with a volatile cache, served to an emulator; and the replay of a run on it.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve an empty drive until the emulator closes its connection
    Serve(ServeArguments),
    /// Make the drive of a run again from its journal
    Replay(ReplayArguments),
}

#[derive(Args, Debug)]
struct ServeArguments {
    /// Unix socket of the block device.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Unix socket for commands, a line each: cut, on, honest, forgetful, pace MS, fail read|write|flush|rot, mark TEXT.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,

    /// Where every input of the drive is written down.
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,

    /// Where all of the drive's luck comes from.
    #[arg(long)]
    seed: u64,

    /// Size of the drive, in MiB.
    #[arg(long, default_value_t = 64)]
    size_mib: u64,

    /// Logical block: 512 or 4096.
    #[arg(long, default_value_t = 4096)]
    block_bytes: u32,
}

#[derive(Args, Debug)]
struct ReplayArguments {
    /// The journal.
    journal: PathBuf,

    /// Stop after this power cut, from 1 [default: at the journal's end].
    #[arg(long, value_name = "N")]
    cut: Option<u64>,

    /// Write what the drive then holds to this file.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Replay(arguments) => replay_run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelith-drive: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &ServeArguments) -> Result<(), JournalError> {
    let config = ServedConfig {
        seed: arguments.seed,
        size_bytes: arguments.size_mib << 20,
        logical_block_bytes: arguments.block_bytes,
    };
    let journal = BufWriter::new(File::create(&arguments.journal)?);
    let drive = RecordedDrive::new(config, journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    serve::run(
        &runtime,
        (config, drive),
        (&arguments.socket, &arguments.control),
    )?;
    Ok(())
}

fn replay_run(arguments: &ReplayArguments) -> Result<(), JournalError> {
    let mut journal = BufReader::new(File::open(&arguments.journal)?);
    let (mut cuts, mut requests) = (0, 0_u64);
    let (config, drive) = replay(&mut journal, arguments.cut, |cut, input| match input {
        Input::Request(_) => requests += 1,
        Input::PowerCut => cuts = cut + 1,
        Input::Mark(text) => println!("after {requests} requests and {cuts} cuts: {text}"),
        _ => {}
    })?;
    println!(
        "seed {}: {requests} requests and {cuts} power cuts replayed, fingerprint {:016x}",
        config.seed,
        drive.fingerprint()
    );
    if let Some(image) = &arguments.image {
        write_image(image, &drive, config.size_bytes)?;
    }
    Ok(())
}

/// Writes the drive to a file, with holes for zeros.
fn write_image(path: &Path, drive: &ServedDrive, size_bytes: u64) -> Result<(), JournalError> {
    let mut file = File::create(path)?;
    file.set_len(size_bytes)?;
    let mut piece = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < size_bytes {
        let length =
            usize::try_from(size_bytes - offset).map_or(COPY_BYTES, |rest| rest.min(COPY_BYTES));
        let piece = &mut piece[..length];
        drive.inspect(DeviceOffset::new(offset), piece);
        if piece.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(piece)?;
        }
        offset += to_u64(length);
    }
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
