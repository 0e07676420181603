use super::*;
use crate::stream::channel::tests_support::channel;
use crate::stream::sign::PublicKey;
use alloc::vec::Vec;

fn addr(n: usize) -> SocketAddr {
    ([10, 0, 0, n as u8], 1).into()
}

#[test]
fn what_sources_tell_crowds_out_nobody_whom_the_dht_knows() {
    let mut fetch = Fetch::default();
    fetch.files.insert(0, Owners::default());
    let told: Vec<SocketAddr> = (0..200).map(addr).collect();
    told.chunks(4).for_each(|others| fetch.heard_of(0, others));
    let known: Vec<SocketAddr> = (200..220).map(addr).collect();
    fetch.found(0, &known, true);
    let found = &fetch.files[&0].found;
    assert_eq!(found[..MAX_HEARSAY], told[..MAX_HEARSAY]);
    assert_eq!(found[MAX_HEARSAY..], known[..]);
    fetch.found(0, &told, false);
    assert_eq!(fetch.files[&0].found.len(), MAX_OWNERS);
}

const NOW: Time = Time::from_secs(1_000);

/// A second of the past that the provider says it has not, and one owner, or
/// partner of whom nothing is known, who failed so often at once before: seconds until
/// that one is asked for it, and until it is given up.
fn waited_for(is_owner: bool, failures: u64) -> (Option<u64>, Option<u64>) {
    let channel = channel(PublicKey([1; 32]));
    let second = channel.blocks_in(Duration::from_secs(1));
    let buffer = BlockBuffer::new(Seq(0), channel.sub_streams(), second);
    let (owner, provider) = (addr(1), addr(9));
    let view = View {
        channel: &channel,
        buffer: &buffer,
        next: Seq(0),
        fresh: true,
        end: Seq(second),
        emergency: Duration::from_secs(5),
        provider: Some(provider),
        manner: Manner::Hedged,
        due: &|_| None,
        partners: &|_, _| SmallVec::new(),
        others: &|| [owner].into_iter().filter(|_| !is_owner).collect(),
    };
    let mut fetch = Fetch::default();
    let found = [owner].into_iter().filter(|_| is_owner).collect();
    let looked = Some((NOW, true));
    fetch.files.insert(0, Owners { found, hearsay: 0, looked });
    let mut source = Source::new(NOW);
    (0..failures).for_each(|n| source.failed(NOW - Duration::from_secs(100 * (failures - 1 - n))));
    fetch.sources.insert(owner, source);
    let (mut asked, mut given_up) = (None, None);
    let mut rng = Rng::new([1; 32]);
    for tenth in 0..300_u32 {
        let now = NOW + Duration::from_millis(100) * tenth;
        for ask in fetch.plan(now, &view, &mut rng) {
            let passed = u64::from(tenth / 10);
            match ask {
                Ask::LookUp(file) => fetch.found(file, &[], true),
                Ask::Dial(addr) if addr == owner => {
                    asked.get_or_insert(passed);
                    fetch.closed(now, owner);
                }
                Ask::Dial(_) | Ask::Request { .. } => {
                    fetch.opened(now, provider, &view);
                    let refused =
                        TimeShiftRefused { first: Seq(0), reason: Reason::NoSource, next: None };
                    fetch.refused(now, &channel, provider, &refused, Some(provider));
                }
                Ask::GiveUp { .. } | Ask::Leap(_) => {
                    given_up.get_or_insert(passed);
                }
                Ask::Close(_) => {}
            }
        }
    }
    (asked, given_up)
}

#[test]
fn what_the_provider_has_not_is_waited_for_while_an_owner_rests() {
    let (asked, given_up) = waited_for(true, 5);
    assert_eq!(asked, Some(16));
    assert!(given_up >= asked, "given up after {given_up:?} s");
}

#[test]
fn an_owner_who_rests_for_long_is_not_waited_for_longer_than_owners_are_good_for() {
    let (asked, given_up) = waited_for(true, 9);
    assert_eq!((asked, given_up), (None, Some(20)));
}

#[test]
fn a_partner_who_rests_and_may_not_even_have_it_is_not_waited_for() {
    let (asked, given_up) = waited_for(false, 5);
    assert!(given_up.is_some_and(|s| s <= 2) && given_up < asked, "{given_up:?} {asked:?}");
}
