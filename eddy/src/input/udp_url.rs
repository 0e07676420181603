//! `udp://` addresses as ffmpeg and VLC write them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};

/// What follows `udp://`: `[@][HOST]:PORT[?localaddr=IP]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpUrl {
    host: String,
    port: u16,
    interface: Option<Ipv4Addr>,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlProblem {
    /// It has no port, or one that is not a number from 1 to 65535.
    Port,
    /// It has no host, and needs one.
    Host,
    /// An option that nobody here knows.
    Option(String),
    /// `localaddr` is not an IPv4 address.
    Interface(String),
}

impl UdpUrl {
    /// Reads what follows `udp://`.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlProblem> {
        let text = text.strip_prefix('@').unwrap_or(text);
        let (address, options) = text.split_once('?').unwrap_or((text, ""));
        let (host, port) =
            address.trim_end_matches('/').rsplit_once(':').ok_or(UrlProblem::Port)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| UrlProblem::Port)?;
        let mut interface = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("localaddr", ip)) => {
                    let ip = ip.parse().map_err(|_| UrlProblem::Interface(ip.into()))?;
                    interface = Some(ip);
                }
                other => return Err(UrlProblem::Option(other.map_or(option, |o| o.0).into())),
            }
        }
        Ok(Self { host: host.into(), port, interface })
    }

    /// The same, if it names a host and a port to send to.
    pub(crate) fn with_host(self) -> Result<Self, UrlProblem> {
        match (self.host.is_empty(), self.port) {
            (true, _) => Err(UrlProblem::Host),
            (_, 0) => Err(UrlProblem::Port),
            _ => Ok(self),
        }
    }

    /// Its address; without a host, every address of this machine.
    pub(crate) fn resolve(&self) -> io::Result<SocketAddr> {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        let mut found = (host, self.port).to_socket_addrs()?;
        found
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
    }

    /// The network interface for multicast, by its address.
    pub(crate) fn interface(&self) -> Option<Ipv4Addr> {
        self.interface
    }
}

impl fmt::Display for UdpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "udp://[{}]:{}", self.host, self.port),
            false => write!(f, "udp://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for UrlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("a port from 1 to 65535 is missing: udp://HOST:PORT"),
            Self::Host => f.write_str("a host is missing: udp://HOST:PORT"),
            Self::Option(name) if name == "pkt_size" => f.write_str(
                "pkt_size is the encoder's to choose; packets leave here as the encoder sent them",
            ),
            Self::Option(name) => {
                write!(
                    f,
                    "the option {name} is unknown; the only one is localaddr=IP, the interface for multicast"
                )
            }
            Self::Interface(ip) => write!(f, "localaddr must be an IPv4 address, not {ip}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> String {
        UdpUrl::parse(text).unwrap().resolve().unwrap().to_string()
    }

    #[test]
    fn reads_the_forms_of_ffmpeg_and_vlc() {
        assert_eq!(address("127.0.0.1:1234"), "127.0.0.1:1234");
        assert_eq!(address("@239.1.2.3:1234"), "239.1.2.3:1234");
        assert_eq!(address("@:1234"), "0.0.0.0:1234");
        assert_eq!(address("[::1]:5004/"), "[::1]:5004");
        let url = UdpUrl::parse("@239.1.2.3:1234?localaddr=10.0.0.7").unwrap();
        assert_eq!(url.interface(), Some(Ipv4Addr::new(10, 0, 0, 7)));
    }

    #[test]
    fn says_what_is_wrong() {
        let problem = |text| UdpUrl::parse(text).and_then(UdpUrl::with_host).unwrap_err();
        for text in ["localhost", "localhost:", "localhost:ts", "localhost:70000", "localhost:0"] {
            assert_eq!(problem(text), UrlProblem::Port, "{text}");
        }
        assert_eq!(problem(":1234"), UrlProblem::Host);
        assert_eq!(problem("h:1?fifo_size=9"), UrlProblem::Option("fifo_size".into()));
        assert_eq!(problem("h:1?localaddr=eth0"), UrlProblem::Interface("eth0".into()));
    }
}
