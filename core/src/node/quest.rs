//! Talk with those who may have a part of the past, whatever it is wanted for.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::ShiftStrategy;
use crate::event::Fault;
use crate::id::LinkId;
use crate::node::{Dial, Node, Stream, Timer};
use crate::stream::block::Block;
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::stream::file::FileId;
use crate::timeshift::Errand;
use crate::timeshift::fetch::{Ask, Asks, Fetch, View};
use crate::wire::message::{Message, TimeShiftRequest};

/// Our own disk as a source: no node has this address.
pub(super) const DISK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What is fetched, and the connections for it.
#[derive(Debug)]
pub(super) struct Quest {
    pub(super) buffer: BlockBuffer,
    pub(super) fetch: Fetch,
    pub(super) doors: BTreeMap<SocketAddr, LinkId>,
}

impl Errand {
    /// What wakes those who are on it.
    pub(super) fn timer(self) -> Timer {
        match self {
            Self::Play => Timer::Rewind,
            Self::Keep => Timer::Recruit,
        }
    }
}

impl Node {
    pub(super) fn quest(&mut self, errand: Errand) -> Option<(&Channel, &mut Quest)> {
        let Stream { channel, rewind, recruit, .. } = self.stream.as_mut()?;
        let quest = match errand {
            Errand::Play => &mut rewind.as_mut()?.quest,
            Errand::Keep => recruit.quest()?,
        };
        Some((channel, quest))
    }

    fn with_view(
        &mut self,
        errand: Errand,
        act: impl FnOnce(&mut Fetch, &View<'_>) -> Asks,
    ) -> Asks {
        let provider = self.provider_addr();
        match errand {
            Errand::Play => match self.live_edge() {
                Some(edge) => self.with_reel(provider, edge, act),
                None => Asks::new(),
            },
            Errand::Keep => self.with_task(provider, act),
        }
    }

    pub(super) fn carry_out(&mut self, errand: Errand, asks: Asks) {
        for ask in asks {
            match ask {
                Ask::LookUp(start) => match errand {
                    Errand::Keep if self.is_survey() => self.no_owners(start),
                    _ => self.find_owners(FileId { start }),
                },
                Ask::Dial(DISK) => self.source_open(errand, DISK),
                Ask::Dial(addr) => {
                    self.dial(Dial::Past(errand, addr), addr);
                }
                Ask::Request { of: DISK, first, end } => self.load_own(first, end),
                Ask::Request { of, first, end } => {
                    let blocks = end.0.saturating_sub(first.0).min(255) as u8;
                    let request = TimeShiftRequest { first, blocks };
                    self.tell_source(errand, of, &Message::TimeShiftRequest(request));
                }
                Ask::Leap(to) => {
                    return match errand {
                        Errand::Play => self.leap_over(to),
                        Errand::Keep => self.past_begins(to),
                    };
                }
                Ask::GiveUp { first, end, void } => match errand {
                    Errand::Play => self.give_up_past(first, end, void),
                    Errand::Keep => return self.end_task(),
                },
                Ask::Close(addr) => {
                    let door = self.quest(errand).and_then(|(_, q)| q.doors.remove(&addr));
                    door.into_iter().for_each(|link| self.close(link, false));
                }
            }
        }
    }

    pub(super) fn tell_source(&mut self, errand: Errand, addr: SocketAddr, message: &Message) {
        let door = self.quest(errand).and_then(|(_, q)| q.doors.get(&addr).copied());
        door.into_iter().for_each(|link| self.say(link, message));
    }

    /// A connection to a source of the past stands.
    pub(super) fn past_opened(&mut self, errand: Errand, link: LinkId, addr: SocketAddr) {
        let Some((_, quest)) = self.quest(errand) else { return self.close(link, false) };
        if let Some(old) = quest.doors.insert(addr, link) {
            self.close(old, false);
        }
        self.source_open(errand, addr);
    }

    fn source_open(&mut self, errand: Errand, addr: SocketAddr) {
        let now = self.now;
        let asks = self.with_view(errand, |fetch, view| fetch.opened(now, addr, view));
        self.carry_out(errand, asks);
    }

    /// A source of the past is gone, or could not be reached.
    pub(super) fn past_lost(&mut self, errand: Errand, addr: SocketAddr) {
        let now = self.now;
        if let Some((_, quest)) = self.quest(errand) {
            quest.doors.remove(&addr);
            quest.fetch.closed(now, addr);
            self.arm_by(errand.timer(), now);
        }
    }

    /// Whose link this is.
    pub(super) fn source_of(&mut self, errand: Errand, link: LinkId) -> Option<SocketAddr> {
        let (_, quest) = self.quest(errand)?;
        quest.doors.iter().find(|(_, l)| **l == link).map(|(addr, _)| *addr)
    }

    pub(super) fn on_source_message(&mut self, errand: Errand, link: LinkId, message: Message) {
        let Some(addr) = self.source_of(errand, link) else { return self.close(link, false) };
        let (now, provider) = (self.now, self.provider_addr());
        let is_survey = errand == Errand::Keep && self.is_survey();
        let hears = self.config.shift == ShiftStrategy::Hedged;
        let Some((channel, quest)) = self.quest(errand) else { return };
        match message {
            Message::TimeShiftRefused(refused) => {
                quest.fetch.refused(now, channel, addr, &refused, provider);
                self.arm_by(errand.timer(), now);
            }
            // Others who asked where the past begins know it no better; and the
            // published systems knew no such word.
            Message::TimeShiftOthers(_) if is_survey || !hears => {}
            Message::TimeShiftOthers(others) => {
                let file = FileId::of(channel, others.seq);
                quest.fetch.heard_of(file.start, &others.others);
            }
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    /// A block of the past came from a source.
    pub(super) fn on_past_block(&mut self, errand: Errand, link: LinkId, block: Block) {
        let Some(addr) = self.source_of(errand, link) else { return };
        let seq = block.seq();
        let Some((channel, quest)) = self.quest(errand) else { return };
        let expected = quest.fetch.expects(channel, seq, addr);
        let (held, missing) = (quest.buffer.holds(seq), quest.buffer.is_missing(seq));
        let verifies = |s: &Stream| s.verifier.block(seq, &block.payload(), &block.signature());
        if held {
            self.stats.duplicates += 1;
        } else if !missing || !expected {
            self.stats.unwanted += 1;
        } else if !self.stream.as_ref().is_some_and(verifies) {
            self.stats.forged += 1;
            self.quest(errand).into_iter().for_each(|(_, q)| q.fetch.cheated(addr));
            self.fault(link, Fault::Forged);
        } else {
            match errand {
                Errand::Play => self.past_arrived(block, addr),
                Errand::Keep => self.recruit_arrived(block, addr),
            }
        }
    }
}
