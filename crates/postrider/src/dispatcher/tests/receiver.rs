//! A receiver on bare sockets, on threads of its own so that it outlives the daemon's runtime. It
//! verifies every signature before it believes anything.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

pub(super) const SECRET: &str = "a secret of the tests, long enough for anybody";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Takes the event and answers so.
    Answer(u16),
    /// Refuses events whose data says so with 422, takes the others.
    RefusePoison,
    /// Takes the whole request and never answers.
    Hang,
    /// Takes the event, then closes without an answer.
    Close,
    /// Nobody listens.
    Down,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// Requests by event id, accepted or not.
    pub(super) requests: HashMap<String, u32>,
    /// How often each was accepted.
    pub(super) accepted: HashMap<String, u32>,
    pub(super) forged: u32,
    pub(super) in_flight: i32,
    pub(super) in_flight_max: i32,
}

pub(super) struct Receiver {
    pub(super) at: SocketAddr,
    mode: watch::Sender<Mode>,
    pub(super) taken: Arc<Mutex<Taken>>,
    runtime: Option<Runtime>,
}

impl Receiver {
    pub(super) fn start(mode: Mode) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        drop(socket);
        let (mode, changes) = watch::channel(mode);
        let taken = Arc::new(Mutex::new(Taken::default()));
        runtime.spawn(listen(at, changes, Arc::clone(&taken)));
        let receiver = Self {
            at,
            mode,
            taken,
            runtime: Some(runtime),
        };
        if *receiver.mode.borrow() != Mode::Down {
            receiver.wait_until_listening();
        }
        receiver
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode != Mode::Down {
            self.wait_until_listening();
        }
    }

    fn wait_until_listening(&self) {
        let started = std::time::Instant::now();
        while std::net::TcpStream::connect(self.at).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "the receiver does not listen"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn taken(&self) -> Taken {
        self.taken.lock().unwrap().clone()
    }

    pub(super) fn requests(&self) -> u32 {
        self.taken().requests.values().sum()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(at: SocketAddr, mut mode: watch::Receiver<Mode>, taken: Arc<Mutex<Taken>>) {
    loop {
        if mode.wait_for(|mode| *mode != Mode::Down).await.is_err() {
            return;
        }
        let listener = TcpListener::bind(at).await.unwrap();
        let modes = mode.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    tokio::spawn(serve(stream, modes.clone(), Arc::clone(&taken)));
                }
                down = mode.wait_for(|mode| *mode == Mode::Down) => {
                    if down.is_err() { return }
                    break;
                }
            }
        }
    }
}

async fn serve(mut stream: TcpStream, mut mode: watch::Receiver<Mode>, taken: Arc<Mutex<Taken>>) {
    let mut down = mode.clone();
    loop {
        let request = tokio::select! {
            request = read_request(&mut stream) => request,
            _ = down.wait_for(|mode| *mode == Mode::Down) => return,
        };
        let Some((head, body)) = request else { return };
        {
            let mut taken = taken.lock().unwrap();
            taken.in_flight += 1;
            taken.in_flight_max = taken.in_flight_max.max(taken.in_flight);
        }
        let now = *mode.borrow_and_update();
        let status = judge(&head, &body, now, &taken);
        if now == Mode::Hang {
            // Until the mode changes or the sender gives up.
            let mut byte = [0];
            tokio::select! { _ = mode.changed() => {}, _ = stream.read(&mut byte) => {} }
        }
        taken.lock().unwrap().in_flight -= 1;
        let Some(status) = status else { return };
        let answer =
            format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\nlocation: /elsewhere\r\n\r\nok");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The status to answer with; `None`: none.
fn judge(head: &str, body: &[u8], mode: Mode, taken: &Mutex<Taken>) -> Option<u16> {
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        head.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .unwrap_or_default()
            .to_owned()
    };
    let id = header("webhook-id");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{id}.{}.", header("webhook-timestamp")).as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let mut taken = taken.lock().unwrap();
    if header("webhook-signature") != expected || !String::from_utf8_lossy(body).contains(&id) {
        taken.forged += 1;
        return Some(401);
    }
    *taken.requests.entry(id.clone()).or_default() += 1;
    let status = match mode {
        Mode::Answer(status) => Some(status),
        Mode::RefusePoison if String::from_utf8_lossy(body).contains("poison") => Some(422),
        Mode::RefusePoison => Some(200),
        Mode::Hang | Mode::Close | Mode::Down => None,
    };
    let accepted = matches!(status, Some(200..=299)) || mode == Mode::Close;
    if accepted {
        *taken.accepted.entry(id).or_default() += 1;
    }
    status
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut request = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let original = String::from_utf8_lossy(&request[..end]).into_owned();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |value| value.parse().unwrap());
            if request.len() >= end + 4 + length {
                return Some((original, request[end + 4..end + 4 + length].to_vec()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}
