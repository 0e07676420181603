//! Addresses as people write them: `HOST:PORT`, and a channel's `eddy://` link.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use eddy_core::stream::channel::Name;
use eddy_core::stream::sign::PublicKey;

use crate::units::from_text;

/// A host, by name or number, and a port. An IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// One or more [`HostPort`]s, separated by commas, to be tried in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<HostPort>);

/// What somebody needs to watch a channel:
/// `eddy://HOST:PORT/NAME?key=HEX`, the name percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelUrl {
    /// The bootstrap server.
    pub bootstrap: HostPort,
    /// The channel's name.
    pub channel: Name,
    /// The provider's public key, if the link has it.
    pub key: Option<PublicKey>,
}

/// Why an address was refused.
#[derive(Debug)]
pub enum AddressError {
    /// It has no port.
    NoPort(String),
    /// It is a port alone.
    NoHost(u16),
    /// The port is not a number from 0 to 65,535.
    Port(String),
    /// The host is empty, has characters that hosts do not have, or is an IPv6
    /// address without brackets.
    Host(String),
    /// The name server has no address for it.
    Unknown(String, std::io::Error),
    /// The link is not of the form `eddy://HOST:PORT/NAME?key=HEX`.
    Url(String, String),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort(s) => write!(f, "\"{s}\" has no port: write HOST:PORT, as in {s}:7400"),
            Self::NoHost(port) => write!(
                f,
                "port {port} has no host: give HOST:PORT, for example 0.0.0.0:{port} to listen on, \
                 or localhost:{port} to connect to"
            ),
            Self::Port(s) => write!(f, "\"{s}\" is not a port: give a number from 0 to 65535"),
            Self::Host(s) => write!(
                f,
                "\"{s}\" is not a host: give a name, an IPv4 address, \
                 or an IPv6 address in brackets, as in [::1]:7400"
            ),
            Self::Unknown(s, why) => write!(f, "no address found for {s}: {why}"),
            Self::Url(s, why) => {
                write!(f, "\"{s}\" is not eddy://HOST:PORT/NAME?key=HEX: {why}")
            }
        }
    }
}

impl std::error::Error for AddressError {}

impl HostPort {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every address that the host has, by asking the system's resolver; this
    /// may take seconds.
    ///
    /// # Errors
    /// [`AddressError::Unknown`] if it has none.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let unknown = |why| AddressError::Unknown(self.to_string(), why);
        let found: Vec<_> =
            (self.host.as_str(), self.port).to_socket_addrs().map_err(unknown)?.collect();
        if found.is_empty() {
            return Err(unknown(std::io::ErrorKind::NotFound.into()));
        }
        Ok(found)
    }

    /// The first of its addresses: what to bind to, or to tell others.
    ///
    /// # Errors
    /// [`AddressError::Unknown`] if it has none.
    pub fn resolve_one(&self) -> Result<SocketAddr, AddressError> {
        self.resolve().map(|found| found[0])
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let (host, port) = match s.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => return Err(AddressError::NoPort(format!("[{host}]"))),
            Some((host, rest)) => {
                let port = rest.strip_prefix(':').ok_or_else(|| AddressError::Host(s.into()))?;
                let v6 = host.parse::<std::net::Ipv6Addr>();
                v6.map_err(|_| AddressError::Host(s.into()))?;
                (host, port)
            }
            None => {
                if let Ok(port) = s.strip_prefix(':').unwrap_or(s).parse() {
                    return Err(AddressError::NoHost(port));
                }
                let (host, port) =
                    s.rsplit_once(':').ok_or_else(|| AddressError::NoPort(s.into()))?;
                let fits = |c: char| c.is_alphanumeric() || c == '.' || c == '-' || c == '_';
                if host.is_empty() || !host.chars().all(fits) {
                    return Err(AddressError::Host(s.into()));
                }
                (host, port)
            }
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or_else(|| AddressError::Port(s.into()))?;
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Hosts {
    /// As they were given; at least one.
    pub fn as_slice(&self) -> &[HostPort] {
        &self.0
    }

    /// The addresses of all of them, in order. A host that is unknown is left
    /// out as long as another one is known.
    ///
    /// # Errors
    /// [`AddressError::Unknown`] if none is known.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let mut addresses = Vec::new();
        let mut failure = None;
        for host in &self.0 {
            match host.resolve() {
                Ok(found) => addresses.extend(found),
                Err(why) => failure = Some(why),
            }
        }
        match failure {
            Some(why) if addresses.is_empty() => Err(why),
            _ => Ok(addresses),
        }
    }
}

impl From<HostPort> for Hosts {
    fn from(host: HostPort) -> Self {
        Self(vec![host])
    }
}

impl FromStr for Hosts {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        s.split(',').map(|host| host.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for ChannelUrl {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let fault = |why: String| AddressError::Url(s.into(), why);
        let rest =
            s.strip_prefix("eddy://").ok_or_else(|| fault("it must begin with eddy://".into()))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, name) =
            rest.split_once('/').ok_or_else(|| fault("the channel's name is missing".into()))?;
        let bootstrap = host.parse().map_err(|e: AddressError| fault(e.to_string()))?;
        let name = percent_decode(name).ok_or_else(|| {
            fault("a % needs two hexadecimal digits, and the whole is UTF-8".into())
        })?;
        let channel = Name::new(&name).map_err(|e| fault(e.to_string()))?;
        // A misspelt `key` must not silently trust anybody.
        let key = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("key", hex)) => Some(hex.parse().map_err(|e| fault(format!("{e}")))?),
            _ => return Err(fault("only key=HEX can follow the question mark".into())),
        };
        Ok(Self { bootstrap, channel, key })
    }
}

impl fmt::Display for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eddy://{}/{}", self.bootstrap, percent_encode(self.channel.as_str()))?;
        match &self.key {
            Some(key) => write!(f, "?key={key}"),
            None => Ok(()),
        }
    }
}

from_text!(HostPort, Hosts, ChannelUrl);

/// Encodes all but letters, digits, `-`, `.` and `~` of ASCII (RFC 3986,
/// section 2.3, without `_`, which names do not have).
fn percent_encode(text: &str) -> String {
    encode(text, |b| b.is_ascii_alphanumeric() || b"-.~".contains(&b))
}

/// A name as part of a file name on any file system: all but letters, digits
/// and `-` percent-encoded, so that no name is `..` or a device.
pub(crate) fn file_name(name: &Name) -> String {
    encode(name.as_str(), |b| b.is_ascii_alphanumeric() || b == b'-')
}

fn encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b == b'%' {
            let (pair, tail) = rest.split_at_checked(2)?;
            let digit = |b: u8| char::from(b).to_digit(16);
            out.push((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
            rest = tail;
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::stream::sign::Signer;
    use quickcheck::{QuickCheck, TestResult};

    fn refusal<T: FromStr<Err = AddressError> + fmt::Debug>(s: &str) -> String {
        s.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn hosts_are_names_or_numbers_with_a_port() {
        for s in ["127.0.0.1:7400", "[::1]:7400", "tv.example.org:1", "my-host:0", "münchen:9"] {
            assert_eq!(s.parse::<HostPort>().unwrap().to_string(), s);
        }
        assert_eq!(
            refusal::<HostPort>("localhost"),
            "\"localhost\" has no port: write HOST:PORT, as in localhost:7400"
        );
        assert!(refusal::<HostPort>("[::1]").contains("as in [::1]:7400"));
        assert!(refusal::<HostPort>("localhost:").contains("is not a port"));
        assert!(refusal::<HostPort>("localhost:65536").contains("0 to 65535"));
        assert!(refusal::<HostPort>("localhost:+1").contains("is not a port"));
        assert!(refusal::<HostPort>("::1:7400").contains("in brackets"));
        for port_only in ["1234", ":1234"] {
            assert_eq!(
                refusal::<HostPort>(port_only),
                "port 1234 has no host: give HOST:PORT, for example 0.0.0.0:1234 to listen on, \
                 or localhost:1234 to connect to"
            );
        }
        assert!(refusal::<HostPort>(":tv").contains("is not a host"));
        assert!(refusal::<HostPort>("[nonsense]:7400").contains("is not a host"));
    }

    #[test]
    fn resolving_gives_addresses_or_says_whose_are_missing() {
        let local: HostPort = "127.0.0.1:7400".parse().unwrap();
        assert_eq!(local.resolve_one().unwrap(), SocketAddr::from(([127, 0, 0, 1], 7400)));
        let nowhere: HostPort = "no-such-host.invalid:7400".parse().unwrap();
        let said = nowhere.resolve().unwrap_err().to_string();
        assert!(said.starts_with("no address found for no-such-host.invalid:7400"), "{said}");
    }

    #[test]
    fn several_hosts_are_tried_in_turn() {
        let hosts: Hosts = "127.0.0.1:1, [::1]:2".parse().unwrap();
        let addrs = hosts.resolve().unwrap();
        assert_eq!(addrs, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
        assert!("127.0.0.1:1,".parse::<Hosts>().is_err());
        let half: Hosts = "no-such-host.invalid:1,127.0.0.1:2".parse().unwrap();
        assert_eq!(half.resolve().unwrap(), ["127.0.0.1:2".parse().unwrap()]);
    }

    #[test]
    fn a_link_names_server_channel_and_key() {
        let key = Signer::from_secret(&[7; 32]).public();
        let text = format!("eddy://tv.example.org:7400/News%20%C3%A9t%C3%A9?key={key}");
        let url: ChannelUrl = text.parse().unwrap();
        assert_eq!(url.bootstrap.to_string(), "tv.example.org:7400");
        assert_eq!(url.channel.as_str(), "News été");
        assert_eq!(url.key, Some(key));
        assert_eq!(url.to_string(), text);
        let bare: ChannelUrl = "eddy://[::1]:7400/News".parse().unwrap();
        assert_eq!(bare.key, None);
    }

    #[test]
    fn a_bad_link_says_what_is_wrong() {
        for (url, why) in [
            ("http://a:1/News", "begin with eddy://"),
            ("eddy://a:1", "name is missing"),
            ("eddy://a/News", "has no port"),
            ("eddy://a:1/", "1 to 64 bytes"),
            ("eddy://a:1/a_b", "without '_'"),
            ("eddy://a:1/a%2", "hexadecimal digits"),
            ("eddy://a:1/a%ff", "UTF-8"),
            ("eddy://a:1/News?key=12", "64 hexadecimal digits"),
            ("eddy://a:1/News?kye=12", "only key=HEX"),
        ] {
            let said = refusal::<ChannelUrl>(url);
            assert!(said.contains(why), "{url}: {said}");
        }
    }

    #[test]
    fn every_name_survives_a_link() {
        fn prop(text: String) -> TestResult {
            let Ok(channel) = Name::new(&text) else { return TestResult::discard() };
            let bootstrap = "localhost:7400".parse().unwrap();
            let url = ChannelUrl { bootstrap, channel, key: None };
            TestResult::from_bool(url.to_string().parse::<ChannelUrl>().ok() == Some(url))
        }
        QuickCheck::new().quickcheck(prop as fn(String) -> TestResult);
    }

    #[test]
    fn file_names_are_harmless() {
        let name = |s| file_name(&Name::new(s).unwrap());
        assert_eq!(name("News-24"), "News-24");
        assert_eq!(name(".."), "%2E%2E");
        assert_eq!(name("a b\\c"), "a%20b%5Cc");
    }
}
