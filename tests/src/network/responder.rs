//! Somebody who answers, by UDP and TCP, in the namespace in which it was started.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait;

/// The port on which it answers.
pub const PORT: u16 = 7;
/// How long it waits for somebody who wants to know what comes next.
const FOREVER: Duration = Duration::from_secs(3600);

/// Answers on all addresses. By UDP: the address of who asks, a space, and what was sent. By TCP:
/// the address and a newline, then all that is sent. It ends when it is dropped.
#[derive(Debug)]
pub struct Responder {
    thread: Option<JoinHandle<()>>,
    stop: Option<UnixStream>,
}

impl Responder {
    /// Begins to answer on addresses of the calling thread's namespace.
    pub fn start() -> Responder {
        // Those of IPv6 are for IPv4, too.
        let udp = UdpSocket::bind(("::", PORT)).unwrap();
        let tcp = TcpListener::bind(("::", PORT)).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || serve(&udp, &tcp, &stopped));
        Responder {
            thread: Some(thread),
            stop: Some(stop),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(udp: &UdpSocket, tcp: &TcpListener, stopped: &UnixStream) {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        let mut fds: Vec<&dyn AsFd> = vec![stopped, udp, tcp];
        fds.extend(streams.iter().map(|s| s as &dyn AsFd));
        let ready = wait::readable(&fds, FOREVER);
        if ready[0] {
            return;
        }
        let mut readable = ready[3..].iter();
        streams.retain_mut(|stream| {
            !readable.next().copied().unwrap_or(false) || echo(stream, &mut buffer)
        });
        if ready[1]
            && let Ok((n, from)) = udp.recv_from(&mut buffer)
        {
            let mut answer = format!("{} ", address(from)).into_bytes();
            answer.extend(&buffer[..n]);
            let _ = udp.send_to(&answer, from);
        }
        if ready[2]
            && let Ok((mut stream, from)) = tcp.accept()
            && stream
                .write_all(format!("{}\n", address(from)).as_bytes())
                .is_ok()
        {
            streams.push(stream);
        }
    }
}

/// Sends back what came; whether more may come.
fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
    }
}

fn address(from: SocketAddr) -> String {
    from.ip().to_canonical().to_string()
}
