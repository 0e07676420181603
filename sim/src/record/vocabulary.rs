//! The core's vocabulary as bytes: configuration, events, commands.

use eddy_core::cache::{CacheConfig, Caps, Defects, Publishing, Strategy};
use eddy_core::config::{Config, LiveStrategy, PlayoutDelay, Reselection, ShiftStrategy};
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::{PublicKey, Verifier};
use eddy_core::wire::message::Member;
use eddy_core::{
    Command, DialId, DiskAnswer, Event, Join, Kept, LinkId, LoadId, NodeId, Position, Ticket, Time,
};

use super::codec::{Coded, Malformed, Source};

/// The variant of an enum that this version cannot write.
const UNKNOWN: u8 = u8::MAX;

/// Structs, field by field: a field that is missing here does not compile.
macro_rules! fields {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(out);)+
            }

            fn take(from: &mut Source) -> Result<Self, Malformed> {
                Ok(Self { $($field: Coded::take(from)?),+ })
            }
        }
    };
}

/// Enums that may have more variants one day: those are written as [`UNKNOWN`],
/// which no reader takes.
macro_rules! variants {
    ($type:ident, $what:literal { $($tag:literal => $variant:ident {
        $($field:tt: $name:ident),*
    }),+ $(,)? }) => {
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field: $name),* } => {
                        u8::put(&$tag, out);
                        $($name.put(out);)*
                    })+
                    _ => UNKNOWN.put(out),
                }
            }

            fn take(from: &mut Source) -> Result<Self, Malformed> {
                Ok(match u8::take(from)? {
                    $($tag => Self::$variant { $($field: Coded::take(from)?),* },)+
                    _ => return Err(Malformed($what)),
                })
            }
        }
    };
}

/// Names that are numbers.
macro_rules! numbered {
    ($($type:ident),+) => {$(
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut Source) -> Result<Self, Malformed> {
                Coded::take(from).map(Self)
            }
        }
    )+};
}

fields!(Config {
    listen,
    verifier,
    buffer,
    join_offset,
    start_buffer,
    playout_delay,
    give_up,
    max_block,
    members,
    gossip,
    heartbeat,
    member_life,
    partners,
    max_partners,
    map_interval,
    map_min_interval,
    partner_timeout,
    refinement,
    paths,
    live,
    reselection,
    cool_down,
    repair,
    repair_after,
    request_timeout,
    initial_streams,
    max_upload,
    queue_limit,
    shift_window,
    emergency,
    shift,
    cache,
    dht,
    max_links,
    max_links_per_address,
    send_window,
    handshake,
    retry,
});
fields!(CacheConfig {
    strategy,
    replicas,
    spares,
    quota,
    largest_file,
    max_age,
    record_life,
    republish,
    recheck,
    count_after,
    rank_step,
    back_off,
    caps,
    lookups,
    fetches,
    watched,
});
fields!(Caps { per_address, per_network });
fields!(Defects {
    off_by_one,
    double_count,
    publishing,
    no_error_path,
    raw_size,
    owners_yield,
    stale_owners,
    random_caching,
});
fields!(DhtConfig { network, hardened, read_only, id });
fields!(FileId { start });
fields!(Join { bootstrap, channel, key, known, position });
fields!(Member { node, addr, connectable, provider, age });

variants!(Event, "an event of an unknown kind" {
    0 => Wake {},
    1 => Opened { link: link, dial: dial, remote: remote },
    2 => DialFailed { dial: dial },
    3 => Received { link: link, bytes: bytes },
    4 => Flushed { link: link, bytes: bytes },
    5 => Closed { link: link },
    6 => Datagram { from: from, bytes: bytes },
    7 => Command { ticket: ticket, command: command },
    8 => Disk { 0: answer },
});
variants!(DiskAnswer, "an unknown answer of the disk" {
    0 => Found { files: files },
    1 => Stored { file: file, kept: kept },
    2 => Loaded { load: load, frames: frames },
});
variants!(Kept, "an unknown fate of a file" {
    0 => Failed {},
    1 => Safe {},
    2 => Full {},
});
variants!(Position, "an unknown kind of position" {
    0 => Live {},
    1 => Ago { 0: ago },
    2 => At { 0: at },
    3 => By { 0: by },
});
variants!(Publishing, "an unknown way of publishing" {
    0 => GetEditPut {},
    1 => CompareAndSwap {},
    2 => AddToSet {},
});
variants!(Strategy, "an unknown strategy of caching" {
    0 => Rank {},
    1 => Report { 0: defects },
    2 => Everything {},
    3 => InitialPosition { span: span },
    4 => LivePosition { span: span, renew: renew },
});
variants!(Command, "a command of an unknown kind" {
    0 => Join { 0: join },
    1 => Publish { 0: packet },
    2 => List { bootstrap: bootstrap },
    3 => Leave {},
    4 => LookUp { key: key },
    5 => Announce { key: key, port: port, life: life },
    6 => Seek { 0: position },
    7 => Pause {},
    8 => Play {},
});
variants!(LiveStrategy, "an unknown way of live blocks" {
    0 => Push {},
    1 => Pull {},
    2 => Tree {},
});
variants!(ShiftStrategy, "an unknown way to the past" {
    0 => Hedged {},
    1 => Published {},
    2 => Bass {},
    3 => Ponder { clip: clip },
});
variants!(Reselection, "an unknown rule of reselection" {
    0 => Inequalities { own: own, partner: partner },
    1 => Lag { overdue: overdue },
});
variants!(PlayoutDelay, "an unknown play-out delay" {
    0 => Auto {},
    1 => Fixed { 0: delay },
    2 => AsStarted {},
    3 => None {},
});

numbered!(DialId, Key, LinkId, LoadId, NodeId, PublicKey, Ticket);

impl Coded for Time {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_micros().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        u64::take(from).map(Self::from_micros)
    }
}

impl Coded for Verifier {
    fn put(&self, out: &mut Vec<u8>) {
        (*self == Self::ghost()).put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        Ok(if bool::take(from)? { Self::ghost() } else { Self::ed25519() })
    }
}

impl Coded for Name {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().to_owned().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        Self::new(&String::take(from)?).map_err(|_| Malformed("text that is no name"))
    }
}

impl Coded for Channel {
    fn put(&self, out: &mut Vec<u8>) {
        self.provider().put(out);
        self.name().put(out);
        self.description().to_owned().put(out);
        self.block().put(out);
        self.sub_streams().put(out);
        self.file().put(out);
        self.key().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let spec = ChannelSpec {
            provider: Coded::take(from)?,
            name: Coded::take(from)?,
            description: Coded::take(from)?,
            block: Coded::take(from)?,
            sub_streams: Coded::take(from)?,
            file: Coded::take(from)?,
            key: Coded::take(from)?,
        };
        Self::new(spec).map_err(|_| Malformed("a channel that cannot be"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::codec::tests::round_trips;
    use bytes::Bytes;
    use quickcheck::{Arbitrary, Gen, QuickCheck};
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
    use std::time::Duration;

    /// Any event, any configuration, valid or not.
    #[derive(Clone, Debug)]
    pub(in crate::record) struct Any<T>(pub(in crate::record) T);

    fn bytes<const N: usize>(g: &mut Gen) -> [u8; N] {
        std::array::from_fn(|_| u8::arbitrary(g))
    }

    fn name(g: &mut Gen) -> Name {
        let letters = ["a", "Z", " ", "é", "電"];
        let length = 1 + usize::arbitrary(g) % 20;
        let text: String = (0..length).map(|_| *g.choose(&letters).unwrap()).collect();
        Name::new(&text).unwrap()
    }

    fn address(g: &mut Gen) -> SocketAddr {
        if bool::arbitrary(g) {
            return (bytes::<4>(g), u16::arbitrary(g)).into();
        }
        let ip = Ipv6Addr::from(bytes::<16>(g));
        SocketAddrV6::new(ip, u16::arbitrary(g), u32::arbitrary(g), u32::arbitrary(g)).into()
    }

    fn list<T>(g: &mut Gen, item: impl Fn(&mut Gen) -> T) -> Vec<T> {
        (0..usize::arbitrary(g) % 4).map(|_| item(g)).collect()
    }

    fn option<T>(g: &mut Gen, some: impl Fn(&mut Gen) -> T) -> Option<T> {
        bool::arbitrary(g).then(|| some(g))
    }

    fn payload(g: &mut Gen) -> Bytes {
        Vec::<u8>::arbitrary(g).into()
    }

    fn key(g: &mut Gen) -> PublicKey {
        PublicKey(bytes(g))
    }

    fn member(g: &mut Gen) -> Member {
        Member {
            node: NodeId(bytes(g)),
            addr: address(g),
            connectable: bool::arbitrary(g),
            provider: bool::arbitrary(g),
            age: u16::arbitrary(g),
        }
    }

    fn channel(g: &mut Gen) -> Channel {
        Channel::new(ChannelSpec {
            provider: name(g),
            name: name(g),
            description: name(g).to_string(),
            block: Duration::from_millis(*g.choose(&[20, 40, 1_000]).unwrap()),
            sub_streams: 1 + u8::arbitrary(g) % 32,
            file: Duration::from_secs(1 + u64::arbitrary(g) % 600),
            key: key(g),
        })
        .unwrap()
    }

    fn position(g: &mut Gen) -> Position {
        match u8::arbitrary(g) % 4 {
            0 => Position::Live,
            1 => Position::Ago(Duration::arbitrary(g)),
            2 => Position::At(Time::from_micros(u64::arbitrary(g))),
            _ => Position::By(i64::arbitrary(g)),
        }
    }

    fn file(g: &mut Gen) -> FileId {
        FileId { start: u64::arbitrary(g) }
    }

    fn answer(g: &mut Gen) -> DiskAnswer {
        match u8::arbitrary(g) % 3 {
            0 => DiskAnswer::Found { files: list(g, |g| (file(g), u64::arbitrary(g))) },
            1 => DiskAnswer::Stored {
                file: file(g),
                kept: *g.choose(&[Kept::Safe, Kept::Full, Kept::Failed]).unwrap(),
            },
            _ => DiskAnswer::Loaded { load: LoadId(u64::arbitrary(g)), frames: option(g, payload) },
        }
    }

    fn cache(g: &mut Gen) -> CacheConfig {
        let caps = Caps { per_address: Option::arbitrary(g), per_network: Option::arbitrary(g) };
        let defects = Defects { raw_size: bool::arbitrary(g), ..Defects::published() };
        let (span, renew) = (Duration::arbitrary(g), bool::arbitrary(g));
        let strategies = [
            Strategy::Rank,
            Strategy::Report(defects),
            Strategy::InitialPosition { span },
            Strategy::LivePosition { span, renew },
            Strategy::Everything,
        ];
        CacheConfig {
            strategy: *g.choose(&strategies).unwrap(),
            quota: u64::arbitrary(g),
            max_age: Option::arbitrary(g),
            record_life: Duration::arbitrary(g),
            caps,
            ..CacheConfig::default()
        }
    }

    fn command(g: &mut Gen) -> Command {
        match u8::arbitrary(g) % 9 {
            0 => Command::Join(Box::new(Join {
                bootstrap: list(g, address),
                channel: name(g),
                key: option(g, key),
                known: option(g, |g| (channel(g), list(g, member))),
                position: position(g),
            })),
            5 => Command::Seek(position(g)),
            6 => Command::Pause,
            7 => Command::Play,
            1 => Command::Publish(payload(g)),
            2 => Command::List { bootstrap: list(g, address) },
            3 => Command::LookUp { key: Key(bytes(g)) },
            4 => Command::Announce {
                key: Key(bytes(g)),
                port: u16::arbitrary(g),
                life: Duration::arbitrary(g),
            },
            _ => Command::Leave,
        }
    }

    impl Arbitrary for Any<Event> {
        fn arbitrary(g: &mut Gen) -> Self {
            let (link, dial) = (LinkId(u64::arbitrary(g)), DialId(u64::arbitrary(g)));
            Self(match u8::arbitrary(g) % 9 {
                0 => Event::Wake,
                1 => {
                    let dial = option(g, |_| dial);
                    Event::Opened { link, dial, remote: address(g) }
                }
                2 => Event::DialFailed { dial },
                3 => Event::Received { link, bytes: payload(g) },
                4 => Event::Flushed { link, bytes: usize::arbitrary(g) },
                5 => Event::Closed { link },
                6 => Event::Datagram { from: address(g), bytes: payload(g) },
                7 => Event::Disk(answer(g)),
                _ => Event::Command { ticket: Ticket(u64::arbitrary(g)), command: command(g) },
            })
        }
    }

    impl Arbitrary for Any<Config> {
        fn arbitrary(g: &mut Gen) -> Self {
            let d = Duration::arbitrary;
            Self(Config {
                listen: address(g),
                verifier: *g.choose(&[Verifier::ed25519(), Verifier::ghost()]).unwrap(),
                buffer: d(g),
                join_offset: d(g),
                start_buffer: d(g),
                playout_delay: match u8::arbitrary(g) % 4 {
                    0 => PlayoutDelay::Auto,
                    1 => PlayoutDelay::Fixed(d(g)),
                    2 => PlayoutDelay::AsStarted,
                    _ => PlayoutDelay::None,
                },
                give_up: d(g),
                max_block: usize::arbitrary(g),
                members: usize::arbitrary(g),
                gossip: d(g),
                heartbeat: d(g),
                member_life: d(g),
                partners: usize::arbitrary(g),
                max_partners: usize::arbitrary(g),
                map_interval: d(g),
                map_min_interval: d(g),
                partner_timeout: d(g),
                refinement: d(g),
                paths: bool::arbitrary(g),
                live: *g
                    .choose(&[LiveStrategy::Push, LiveStrategy::Pull, LiveStrategy::Tree])
                    .unwrap(),
                reselection: if bool::arbitrary(g) {
                    Reselection::Inequalities { own: d(g), partner: d(g) }
                } else {
                    Reselection::Lag { overdue: d(g) }
                },
                cool_down: d(g),
                repair: bool::arbitrary(g),
                repair_after: d(g),
                request_timeout: d(g),
                initial_streams: u8::arbitrary(g),
                max_upload: Option::arbitrary(g),
                queue_limit: d(g),
                shift_window: d(g),
                emergency: d(g),
                shift: *g
                    .choose(&[
                        ShiftStrategy::Hedged,
                        ShiftStrategy::Published,
                        ShiftStrategy::Bass,
                        ShiftStrategy::Ponder { clip: Duration::from_secs(5) },
                    ])
                    .unwrap(),
                cache: option(g, cache),
                dht: option(g, |g| DhtConfig {
                    network: option(g, bytes),
                    hardened: bool::arbitrary(g),
                    read_only: bool::arbitrary(g),
                    id: option(g, |g| Key(bytes(g))),
                }),
                max_links: usize::arbitrary(g),
                max_links_per_address: usize::arbitrary(g),
                send_window: usize::arbitrary(g),
                handshake: d(g),
                retry: d(g),
            })
        }
    }

    #[test]
    fn events_and_configurations_round_trip() {
        let check = || QuickCheck::new().tests(1_000);
        check().quickcheck((|e| round_trips(&e.0)) as fn(Any<Event>) -> bool);
        check().quickcheck((|c| round_trips(&c.0)) as fn(Any<Config>) -> bool);
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        fn all_kinds(garbage: Vec<u8>) -> bool {
            let source = || Source(garbage.clone().into());
            drop((Event::take(&mut source()), Config::take(&mut source())));
            drop((Channel::take(&mut source()), Join::take(&mut source())));
            true
        }
        QuickCheck::new().tests(2_000).quickcheck(all_kinds as fn(Vec<u8>) -> bool);
        let unknown = Event::take(&mut Source(vec![9].into()));
        assert_eq!(unknown, Err(Malformed("an event of an unknown kind")));
    }
}
