//! The thread that gives a [`Core`] sockets and time.
//!
//! ```text
//!  callers ──Submit──▶ ┌──────────────┐ ──Connect──▶ one thread a connection: connects, then reads
//!                      │ driver: Core │ ──bytes───▶ its socket
//!  callers ◀─answers── └──────────────┘ ◀─Received── its thread
//! ```
//! All that has come is handed in before the core is advanced, so that requests of many callers leave in one frame.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::mono::Span;
use base::{Jid, Mono};

use crate::core::{Action, Core, LinkId};
use crate::error::ClientError;
use crate::explained::{EXPLAINED_MAX, Explained};
use crate::operation::{ClientOptions, Operation, Reply, Ticket};

/// Bytes taken from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// A server that takes no bytes for this long is given up: the one thread that writes serves all connections. Servers
/// read whatever the load, and what was sent is sent again, so giving up costs little.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// Events handed in before the core is advanced.
const EVENTS_MAX: usize = 4096;

/// Hears of an operation's end.
pub(crate) type OnDone = Box<dyn FnOnce(Result<Reply, ClientError>) + Send>;
/// Hears of a journal's heads.
pub(crate) type OnHead = Box<dyn FnMut(Jid) + Send>;

enum Event {
    Submit { operation: Box<Operation>, within: Span, on_done: OnDone, on_head: Option<OnHead>, id: u64 },
    Cancel { id: u64 },
    Connected { link: LinkId, stream: TcpStream },
    Received { link: LinkId, bytes: Vec<u8> },
    Closed { link: LinkId, reason: String },
    Stop,
}

/// Where callers leave their operations.
#[derive(Clone)]
pub(crate) struct Handle {
    events: Sender<Event>,
    explained: Arc<Mutex<VecDeque<Explained>>>,
}

impl Handle {
    /// Leaves an operation; `on_done` is called once, on the driver's thread. `id` is the caller's name for
    /// [`Handle::cancel`], unique among its operations.
    pub fn submit(&self, id: u64, operation: Operation, within: Span, on_head: Option<OnHead>, on_done: OnDone) {
        let event = Event::Submit { operation: Box::new(operation), within, on_done, on_head, id };
        if let Err(unsent) = self.events.send(event)
            && let Event::Submit { on_done, .. } = unsent.0
        {
            on_done(Err(ClientError::Closed));
        }
    }

    /// What servers told of operations that have ended, since the last call.
    pub fn take_explained(&self) -> Vec<Explained> {
        self.explained.lock().map(|mut explained| explained.drain(..).collect()).unwrap_or_default()
    }

    /// Forgets an operation; its `on_done` is dropped.
    pub fn cancel(&self, id: u64) {
        // A driver that is gone has forgotten it.
        let _ = self.events.send(Event::Cancel { id });
    }
}

/// The driver's thread; it ends with this value.
pub(crate) struct Driver {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the thread.
    pub fn start(core: Core, options: ClientOptions) -> std::io::Result<Driver> {
        let (events, inbox) = channel();
        let sender = events.clone();
        let explained: Arc<Mutex<VecDeque<Explained>>> = Arc::default();
        let shared = explained.clone();
        let thread = std::thread::Builder::new().name("dropstone-client".to_owned()).spawn(move || {
            let wheel = Wheel {
                core,
                options,
                began: Instant::now(),
                sender,
                streams: HashMap::new(),
                waiting: HashMap::new(),
                tickets: HashMap::new(),
                explained: shared,
            };
            wheel.run(&inbox);
        })?;
        Ok(Driver { handle: Handle { events, explained }, thread: Some(thread) })
    }

    /// Where operations are left.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.handle.events.send(Event::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

struct Waiting {
    id: u64,
    on_done: OnDone,
    on_head: Option<OnHead>,
}

struct Wheel {
    core: Core,
    options: ClientOptions,
    began: Instant,
    sender: Sender<Event>,
    streams: HashMap<LinkId, TcpStream>,
    waiting: HashMap<Ticket, Waiting>,
    /// Tickets by the callers' names.
    tickets: HashMap<u64, Ticket>,
    explained: Arc<Mutex<VecDeque<Explained>>>,
}

impl Wheel {
    /// This process's time for the core; a second ahead, so that no deadline lies before the beginning.
    fn now(&self) -> Mono {
        Mono(1_000_000_000 + u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX / 2))
    }

    fn run(mut self, inbox: &Receiver<Event>) {
        loop {
            let wait = self.core.next_deadline().map(|deadline| deadline.since(self.now()).0);
            let first = match wait {
                Some(nanos) => inbox.recv_timeout(Duration::from_nanos(nanos)),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(event) => {
                    let mut next = Some(event);
                    let mut taken = 0;
                    while let Some(event) = next {
                        if matches!(event, Event::Stop) {
                            return self.end();
                        }
                        self.take(event);
                        taken += 1;
                        next = if taken < EVENTS_MAX { inbox.try_recv().ok() } else { None };
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            let now = self.now();
            self.core.advance(now);
            self.keep_explained();
            while let Some(action) = self.core.poll_action() {
                self.act(action);
            }
        }
    }

    /// Before the operations end: who has an answer finds its explanation.
    fn keep_explained(&mut self) {
        while let Some(one) = self.core.poll_explained() {
            let Ok(mut explained) = self.explained.lock() else { return };
            if explained.len() >= EXPLAINED_MAX {
                explained.pop_front();
            }
            explained.push_back(one);
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Submit { operation, within, on_done, on_head, id } => {
                let ticket = self.core.submit(*operation, within, now);
                self.tickets.insert(id, ticket);
                self.waiting.insert(ticket, Waiting { id, on_done, on_head });
            }
            Event::Cancel { id } => {
                if let Some(ticket) = self.tickets.remove(&id) {
                    self.waiting.remove(&ticket);
                    self.core.cancel(ticket);
                }
            }
            Event::Connected { link, stream } => {
                if self.core.handle_connected(link, now) {
                    self.streams.insert(link, stream);
                } else {
                    // The reading thread sees the end and leaves.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Event::Received { link, bytes } => self.core.handle_received(link, &bytes, now),
            Event::Closed { link, reason } => {
                self.streams.remove(&link);
                self.core.handle_closed(link, &reason, now);
            }
            Event::Stop => unreachable!("the loop ends at Stop"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { link, address } => self.connect(link, address),
            Action::Send { link, bytes } => {
                let Some(stream) = self.streams.get_mut(&link) else { return };
                if let Err(error) = stream.write_all(&bytes) {
                    let _ = stream.shutdown(Shutdown::Both);
                    self.streams.remove(&link);
                    let now = self.now();
                    self.core.handle_closed(link, &error.to_string(), now);
                }
            }
            Action::Close { link } => {
                if let Some(stream) = self.streams.remove(&link) {
                    // The reading thread sees the end and leaves.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Action::Complete { ticket, result } => {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    self.tickets.remove(&waiting.id);
                    (waiting.on_done)(result);
                }
            }
            Action::Head { ticket, head } => {
                if let Some(on_head) = self.waiting.get_mut(&ticket).and_then(|waiting| waiting.on_head.as_mut()) {
                    on_head(head);
                }
            }
        }
    }

    fn connect(&mut self, link: LinkId, address: String) {
        let events = self.sender.clone();
        let patience = Duration::from_nanos(self.options.link_deadline.0);
        let spawned = std::thread::Builder::new()
            .name("dropstone-link".to_owned())
            .spawn(move || live(link, &address, patience, &events));
        if let Err(error) = spawned {
            let now = self.now();
            self.core.handle_closed(link, &error.to_string(), now);
        }
    }

    /// Everybody who waits hears that it is over.
    fn end(mut self) {
        for stream in self.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.waiting.drain().for_each(|(_, waiting)| (waiting.on_done)(Err(ClientError::Closed)));
    }
}

/// One connection's thread: connects, then hands in what comes until the end.
fn live(link: LinkId, address: &str, patience: Duration, events: &Sender<Event>) {
    // Nobody listens any more when a send fails: the thread just ends.
    let closed = |reason: String| drop(events.send(Event::Closed { link, reason }));
    let mut stream = match dial(address, patience) {
        Ok(stream) => stream,
        Err(error) => return closed(error.to_string()),
    };
    match stream.try_clone() {
        Ok(writer) => {
            if events.send(Event::Connected { link, stream: writer }).is_err() {
                return;
            }
        }
        Err(error) => return closed(error.to_string()),
    }
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return closed("the server closed the connection".to_owned()),
            Ok(bytes) => {
                if events.send(Event::Received { link, bytes: buffer[..bytes].to_vec() }).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return closed(error.to_string()),
        }
    }
}

fn dial(address: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, patience) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(WRITE_PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
