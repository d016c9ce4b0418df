//! The sockets of a served drive: one connection of an emulator, any number of those that command. All on one thread; what they
//! bring becomes inputs of the drive in the order in which it comes, and a task of its own lets the drive step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelith_io::{Honesty, to_u64};
use corelith_simulation::limits::SERVED_REQUEST_BYTES_MAX;
use corelith_simulation::served_drive::journal::{FAULTS, RecordedDrive};
use corelith_simulation::served_drive::{Answered, Input, ServedConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::nbd::{self, Next, RequestHead};

/// How often the sockets are looked at before the drive steps: what comes at about the same time is in flight together, and so can
/// complete in another order or be met by a power cut.
const LOOKS_BEFORE_STEP: u32 = 3;

/// A drive with its journal.
pub type Drive = RecordedDrive<io::BufWriter<File>>;

struct Server {
    config: ServedConfig,
    drive: RefCell<Drive>,
    /// Who awaits the answer to the request of each number. As many as the emulator keeps in flight.
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    request_count: RefCell<u64>,
    arrived: Notify,
    /// How long the drive rests before each step while something is under way.
    pace: Cell<Duration>,
}

struct Waiting {
    cookie: u64,
    replies: UnboundedSender<Vec<u8>>,
}

/// Serves until the emulator closes its connection.
pub fn run(
    runtime: &tokio::runtime::Runtime,
    (config, drive): (ServedConfig, Drive),
    (socket, control): (&Path, &Path),
) -> io::Result<()> {
    let server = Rc::new(Server {
        config,
        drive: RefCell::new(drive),
        waiting: RefCell::default(),
        request_count: RefCell::default(),
        arrived: Notify::new(),
        pace: Cell::default(),
    });
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(runtime, async {
        // Who waits for the sockets to appear finds both.
        let commands = UnixListener::bind(control)?;
        let emulator = UnixListener::bind(socket)?;
        tokio::task::spawn_local(accept_commands(Rc::clone(&server), commands));
        let (stream, _) = emulator.accept().await?;
        tokio::select! {
            ended = serve_emulator(&server, stream) => ended,
            failed = step(&server) => failed,
        }
    });
    server.drive.borrow_mut().flush()?;
    ended
}

impl Server {
    /// Lets something happen and sends what is answered by it.
    fn take(&self, input: Input) -> io::Result<()> {
        let answered = self.drive.borrow_mut().take(input)?;
        self.send(answered);
        Ok(())
    }

    fn request(&self, input: Input, waiting: Waiting) -> io::Result<()> {
        let mut count = self.request_count.borrow_mut();
        *count += 1;
        self.waiting.borrow_mut().insert(*count, waiting);
        self.arrived.notify_one();
        self.take(input)
    }

    fn send(&self, answered: Vec<Answered>) {
        for (number, answer) in answered {
            let Some(waiting) = self.waiting.borrow_mut().remove(&number) else {
                continue;
            };
            // A connection that has ended awaits nothing.
            let _gone = waiting.replies.send(nbd::reply(waiting.cookie, &answer));
        }
    }

    /// Carries out a line of a command and says what to answer.
    fn command(&self, line: &str) -> io::Result<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let input = match word {
            "cut" => Input::PowerCut,
            "on" => Input::PowerOn,
            "honest" => Input::Honesty(Honesty::Honest),
            "forgetful" => Input::Honesty(Honesty::Forgetful),
            "pace" => {
                let Ok(pace) = rest.parse() else {
                    return Ok(format!("error {rest:?} is no number of milliseconds"));
                };
                self.pace.set(Duration::from_millis(pace));
                return Ok("done".to_owned());
            }
            "mark" => Input::Mark(rest.to_owned()),
            "fail" => match FAULTS.iter().find(|(_, name)| *name == rest) {
                Some((fault, _)) => Input::Fault(*fault),
                None => return Ok(format!("error no fault is called {rest:?}")),
            },
            _ => return Ok(format!("error no command is called {word:?}")),
        };
        let is_cut = input == Input::PowerCut;
        self.take(input)?;
        let cut = self.drive.borrow().drive().last_cut();
        Ok(match cut.filter(|_| is_cut) {
            Some(cut) => format!(
                "cut {} {} {:016x}",
                cut.cached_blocks, cut.in_flight, cut.fingerprint
            ),
            None => "done".to_owned(),
        })
    }
}

/// Lets the drive step whenever something is under way. Ends only if the journal cannot be written.
async fn step(server: &Server) -> io::Result<()> {
    loop {
        if server.drive.borrow().drive().pending_count() == 0 {
            server.arrived.notified().await;
            continue;
        }
        if server.pace.get().is_zero() {
            for _ in 0..LOOKS_BEFORE_STEP {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(server.pace.get()).await;
        }
        server.take(Input::Step)?;
    }
}

async fn accept_commands(server: Rc<Server>, listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let server = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            if let Err(error) = serve_commands(&server, stream).await {
                eprintln!("corelith-drive: a connection for commands ended: {error}");
            }
        });
    }
}

async fn serve_commands(server: &Server, stream: UnixStream) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = server.command(line.trim())?;
        writing.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn serve_emulator(server: &Server, stream: UnixStream) -> io::Result<()> {
    let (mut reading, mut writing) = stream.into_split();
    if !shake_hands(server, &mut reading, &mut writing).await? {
        return Ok(());
    }
    let (replies, to_send) = unbounded_channel();
    let sending = tokio::task::spawn_local(send_replies(writing, to_send));
    let read = read_requests(server, &mut reading, &replies).await;
    sending.abort();
    match read {
        // Most emulators just go.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read,
    }
}

/// False if the client does not want requests.
async fn shake_hands(
    server: &Server,
    reading: &mut OwnedReadHalf,
    writing: &mut OwnedWriteHalf,
) -> io::Result<bool> {
    writing.write_all(&nbd::GREETING).await?;
    let _flags = reading.read_u32().await?;
    loop {
        let mut head = [0; nbd::OPTION_BYTES];
        reading.read_exact(&mut head).await?;
        let (number, length) = nbd::option(&head).ok_or_else(|| broken("an option"))?;
        let mut data = vec![0; length];
        reading.read_exact(&mut data).await?;
        let block_bytes_max = u32::try_from(SERVED_REQUEST_BYTES_MAX).unwrap_or(u32::MAX);
        let (out, next) = nbd::answer_option(number, server.config, block_bytes_max);
        writing.write_all(&out).await?;
        match next {
            Next::Option => {}
            Next::Requests => return Ok(true),
            Next::End => return Ok(false),
        }
    }
}

async fn read_requests(
    server: &Server,
    reading: &mut OwnedReadHalf,
    replies: &UnboundedSender<Vec<u8>>,
) -> io::Result<()> {
    // One system call brings many small requests.
    let mut reading = BufReader::with_capacity(256 << 10, reading);
    loop {
        let mut head = [0; nbd::REQUEST_BYTES];
        reading.read_exact(&mut head).await?;
        let head = RequestHead::parse(&head).ok_or_else(|| broken("a request"))?;
        if to_u64(head.data_bytes()) > to_u64(SERVED_REQUEST_BYTES_MAX) {
            return Err(broken("a request's length"));
        }
        let mut data = vec![0; head.data_bytes()];
        reading.read_exact(&mut data).await?;
        let Some(request) = head.request(data) else {
            return Ok(());
        };
        let waiting = Waiting {
            cookie: head.cookie,
            replies: replies.clone(),
        };
        server.request(Input::Request(request), waiting)?;
    }
}

async fn send_replies(mut writing: OwnedWriteHalf, mut replies: UnboundedReceiver<Vec<u8>>) {
    while let Some(reply) = replies.recv().await {
        if writing.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} breaks the protocol of block devices"),
    )
}
