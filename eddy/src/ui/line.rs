//! The progress of one provider or viewer: a line that refreshes each second
//! on a terminal, a line every ten seconds in a pipe, a JSON line each second
//! with `--json`.

use std::mem;
use std::time::Duration;

use eddy_core::dht::DhtStats;
use eddy_core::stats::{Rhythm, Shift, Stats};
use eddy_core::stream::channel::Name;
use eddy_core::{Phase, Time};
use serde::Serialize;

use super::table::State;
use super::{
    Mode, Ui, as_ms, continuity, json_line, mbit, millis, or_dash, peer_share, percent, seconds,
    total, whole_percent,
};
use crate::moment::span_text;

/// Time between two lines in a pipe.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows how one node does.
#[derive(Debug)]
pub struct Progress<'a> {
    ui: &'a Ui,
    last: (Time, Stats),
    shown: Option<Time>,
}

/// Rates over the last second, in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Received, of all kinds.
    pub down: u64,
    /// Sent, of all kinds.
    pub up: u64,
    /// Handed to the player, or taken from the encoder.
    pub payload: u64,
}

/// How a DHT node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtState {
    /// Nodes that it knows well.
    pub nodes: usize,
    /// Records that it stores for others.
    pub records: usize,
    /// Its counters.
    pub stats: DhtStats,
}

impl Rates {
    /// The rates between two moments' counters; zero if no time passed.
    pub fn between(before: &Stats, after: &Stats, time: Duration) -> Self {
        let rate = |before: u64, after: u64| {
            let bits = u128::from(after.saturating_sub(before)) * 8 * 1_000_000;
            u64::try_from(bits.checked_div(time.as_micros()).unwrap_or(0)).unwrap_or(u64::MAX)
        };
        Self {
            down: rate(before.bytes_received, after.bytes_received),
            up: rate(before.bytes_sent, after.bytes_sent),
            payload: rate(before.payload, after.payload),
        }
    }
}

impl<'a> Progress<'a> {
    /// Progress on this screen, of a node that starts now.
    pub fn new(ui: &'a Ui, now: Time) -> Self {
        Self { ui, last: (now, Stats::default()), shown: None }
    }

    /// Shows a viewer's statistics, once a second.
    pub fn viewer(&mut self, now: Time, channel: Option<&Name>, phase: Phase, stats: &Stats) {
        let rates = self.rates(now, stats);
        self.show(
            now,
            |colours| viewer_text(phase, stats, rates, colours),
            || viewer_json(now, channel, phase, stats, rates),
        );
    }

    /// Shows a provider's statistics, once a second.
    pub fn provider(&mut self, now: Time, stats: &Stats) {
        let rates = self.rates(now, stats);
        self.show(
            now,
            |colours| provider_text(stats, rates, colours),
            || provider_json(now, stats, rates),
        );
    }

    /// Shows how a DHT node does.
    pub fn dht(&mut self, now: Time, state: &DhtState) {
        // A program that reads JSON asks for it.
        if self.ui.mode != Mode::Json {
            self.show(now, |_| dht_text(state), String::new);
        }
    }

    /// Notes what the node did in all, if it told at its end.
    pub fn ends(&mut self, stats: Option<Box<Stats>>) {
        if let Some(stats) = stats {
            self.last.1 = *stats;
        }
    }

    /// Shows what the viewer did in all, as it told last; see [`total::viewer`].
    pub fn viewer_total(&self, block: Option<Duration>) {
        total::viewer(self.ui, &self.last.1, block);
    }

    /// Shows what the provider did in all, as it told last.
    pub fn provider_total(&self) {
        total::provider(self.ui, &self.last.1);
    }

    fn rates(&mut self, now: Time, stats: &Stats) -> Rates {
        let (then, before) = mem::replace(&mut self.last, (now, stats.clone()));
        Rates::between(&before, stats, now.since(then))
    }

    fn show(&mut self, now: Time, text: impl Fn(bool) -> String, json: impl Fn() -> String) {
        if self.ui.quiet {
            return;
        }
        match self.ui.mode {
            Mode::Terminal { colours } => self.ui.screen.show(&text(colours)),
            Mode::Json => self.ui.screen.show(&json()),
            Mode::Plain => {
                if self.shown.is_none_or(|then| now.since(then) >= PLAIN_INTERVAL) {
                    self.shown = Some(now);
                    self.ui.screen.show(&text(false));
                }
            }
        }
    }
}

/// A viewer's line.
pub fn viewer_text(phase: Phase, stats: &Stats, rates: Rates, colours: bool) -> String {
    let parents = stats.parents.iter().flatten().count();
    // Who watches the past has no delay to speak of.
    let behind = match (stats.playout_delay, stats.behind) {
        (None, Some(behind)) => format!("behind {}", span_text(behind)),
        (delay, _) => format!("delay {}", or_dash(delay.map(millis))),
    };
    // What matters most comes first: a narrow terminal cuts the rest.
    format!(
        "{}  {behind}  buffer {}  parents {parents}/{}  lost {}  continuity {}  \
         from peers {}  down {}  up {}\n",
        State::from(phase).paint(9, colours),
        seconds(stats.buffered),
        stats.parents.len(),
        stats.lost,
        or_dash(continuity(stats).map(percent)),
        or_dash(peer_share(stats).map(whole_percent)),
        mbit(rates.down),
        mbit(rates.up),
    )
}

/// A provider's line.
pub fn provider_text(stats: &Stats, rates: Rates, colours: bool) -> String {
    format!(
        "{}  in {}  up {}  serving {} of {} sub-streams  partners {}  viewers {}\n",
        State::Live.paint(4, colours),
        mbit(rates.payload),
        mbit(rates.up),
        stats.children,
        stats.upload_slots,
        stats.partners,
        stats.viewers,
    )
}

/// A DHT node's line.
pub fn dht_text(state: &DhtState) -> String {
    let DhtState { nodes, records, stats } = state;
    format!(
        "nodes {nodes}  records {records}  asked {}  unanswered {}  served {}  dropped {}\n",
        stats.queries, stats.failures, stats.served, stats.dropped
    )
}

/// A viewer's JSON line.
pub fn viewer_json(
    now: Time,
    channel: Option<&Name>,
    phase: Phase,
    stats: &Stats,
    rates: Rates,
) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        kind: &'static str,
        time_us: u64,
        channel: Option<&'a str>,
        state: State,
        startup_ms: Option<u64>,
        playout_delay_ms: Option<u64>,
        buffer_ms: u64,
        position_us: Option<u64>,
        behind_ms: Option<u64>,
        parents: Vec<Option<String>>,
        partners: u32,
        viewers: u32,
        down_bits_per_second: u64,
        up_bits_per_second: u64,
        continuity: Option<f64>,
        from_peers: Option<f64>,
        blocks_due: u64,
        blocks_late: u64,
        blocks_lost: u64,
        blocks_repaired: u64,
        changes_of_parent: u64,
        past: PastBlocks,
        files: u32,
        file_bytes: u64,
        sent: Sent,
    }
    #[derive(Serialize)]
    struct Sent {
        maps: u64,
        gossip: u64,
        heartbeats: u64,
        pings: u64,
    }
    let Rhythm { maps, gossip, heartbeats, pings } = stats.rhythm;
    json_line(&Object {
        kind: "viewer",
        time_us: now.as_micros(),
        channel: channel.map(Name::as_str),
        state: phase.into(),
        startup_ms: stats.startup.map(as_ms),
        playout_delay_ms: stats.playout_delay.map(as_ms),
        buffer_ms: as_ms(stats.buffered),
        position_us: stats.position.map(Time::as_micros),
        behind_ms: stats.behind.map(as_ms),
        parents: stats.parents.iter().map(|p| p.map(|node| format!("{node:?}"))).collect(),
        partners: stats.partners,
        viewers: stats.viewers,
        down_bits_per_second: rates.down,
        up_bits_per_second: rates.up,
        continuity: continuity(stats),
        from_peers: peer_share(stats),
        blocks_due: stats.due,
        blocks_late: stats.late,
        blocks_lost: stats.lost,
        blocks_repaired: stats.repaired,
        changes_of_parent: stats.reselections,
        past: PastBlocks::of(stats),
        files: stats.files,
        file_bytes: stats.file_bytes,
        sent: Sent { maps, gossip, heartbeats, pings },
    })
}

/// Blocks of the past by source, and how many were passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PastBlocks {
    /// See [`Shift`].
    pub peer: u64,
    /// See [`Shift`].
    pub emergency: u64,
    /// See [`Shift`].
    pub failed: u64,
    /// See [`Shift`].
    pub no_owner: u64,
    /// See [`Shift`].
    pub lost: u64,
    /// Sent to others.
    pub sent: u64,
}

impl PastBlocks {
    /// What a node counted.
    pub fn of(stats: &Stats) -> Self {
        let Shift { peer, emergency, failed, no_owner, lost } = stats.shift;
        Self { peer, emergency, failed, no_owner, lost, sent: stats.past_sent }
    }
}

/// A provider's JSON line.
pub fn provider_json(now: Time, stats: &Stats, rates: Rates) -> String {
    #[derive(Serialize)]
    struct Object {
        kind: &'static str,
        time_us: u64,
        input_bits_per_second: u64,
        up_bits_per_second: u64,
        sub_streams_served: u32,
        sub_streams_offered: u32,
        partners: u32,
        viewers: u32,
        packets: u64,
        past_sent: u64,
        files: u32,
        file_bytes: u64,
    }
    json_line(&Object {
        kind: "provider",
        time_us: now.as_micros(),
        input_bits_per_second: rates.payload,
        up_bits_per_second: rates.up,
        sub_streams_served: stats.children,
        sub_streams_offered: stats.upload_slots,
        partners: stats.partners,
        viewers: stats.viewers,
        packets: stats.packets,
        past_sent: stats.past_sent,
        files: stats.files,
        file_bytes: stats.file_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::screen::Screen;
    use eddy_core::NodeId;
    use std::io;
    use std::sync::{Arc, Mutex};

    fn stats() -> Stats {
        Stats {
            due: 1_000,
            on_time: 998,
            late: 2,
            payload: 130_000,
            packets: 100,
            startup: Some(Duration::from_millis(214)),
            playout_delay: Some(Duration::from_millis(412)),
            buffered: Duration::from_millis(1_200),
            from_peers: 700,
            from_provider: 300,
            repaired: 3,
            bytes_received: 250_000,
            bytes_sent: 125_000,
            children: 20,
            upload_slots: 24,
            parents: [Some(NodeId([0xab; 16])), None].into_iter().collect(),
            partners: 5,
            viewers: 8,
            rhythm: Rhythm { maps: 9, gossip: 2, heartbeats: 1, pings: 4 },
            ..Stats::default()
        }
    }

    fn rates() -> Rates {
        Rates::between(&Stats::default(), &stats(), Duration::from_secs(2))
    }

    #[test]
    fn a_dht_nodes_line_says_whom_it_knows_first() {
        let stats =
            DhtStats { queries: 40, failures: 2, served: 7, dropped: 1, ..DhtStats::default() };
        assert_eq!(
            dht_text(&DhtState { nodes: 12, records: 3, stats }),
            "nodes 12  records 3  asked 40  unanswered 2  served 7  dropped 1\n"
        );
    }

    #[test]
    fn rates_are_bits_a_second() {
        assert_eq!(rates(), Rates { down: 1_000_000, up: 500_000, payload: 520_000 });
        assert_eq!(Rates::between(&stats(), &stats(), Duration::ZERO), Rates::default());
    }

    #[test]
    fn a_viewer_fits_on_a_line() {
        assert_eq!(
            viewer_text(Phase::Playing, &stats(), rates(), false),
            "playing    delay 412 ms  buffer 1.20 s  parents 1/2  lost 0  continuity 99.80 %  \
             from peers 70 %  down 1.00 Mbit/s  up 0.50 Mbit/s\n"
        );
        assert_eq!(
            viewer_text(Phase::Joining, &Stats::default(), Rates::default(), false),
            "joining    delay -  buffer 0.00 s  parents 0/0  lost 0  continuity -  \
             from peers -  down 0.00 Mbit/s  up 0.00 Mbit/s\n"
        );
    }

    #[test]
    fn who_watches_the_past_is_so_long_behind() {
        let behind = Some(Duration::from_secs(130));
        let stats = Stats { playout_delay: None, behind, ..stats() };
        let text = viewer_text(Phase::Playing, &stats, rates(), false);
        assert!(text.starts_with("playing    behind 2:10  buffer"), "{text}");
    }

    #[test]
    fn a_provider_fits_on_a_line() {
        assert_eq!(
            provider_text(&stats(), rates(), false),
            "live  in 0.52 Mbit/s  up 0.50 Mbit/s  serving 20 of 24 sub-streams  partners 5  viewers 8\n"
        );
    }

    #[test]
    fn json_has_units_in_its_names() {
        assert_eq!(
            viewer_json(
                Time::from_micros(7),
                Name::new("News").ok().as_ref(),
                Phase::Playing,
                &stats(),
                rates()
            ),
            "{\"kind\":\"viewer\",\"time_us\":7,\"channel\":\"News\",\"state\":\"playing\",\"startup_ms\":214,\
             \"playout_delay_ms\":412,\"buffer_ms\":1200,\"position_us\":null,\"behind_ms\":null,\"parents\":[\"abababab\",null],\"partners\":5,\
             \"viewers\":8,\"down_bits_per_second\":1000000,\"up_bits_per_second\":500000,\
             \"continuity\":0.998,\"from_peers\":0.7,\"blocks_due\":1000,\"blocks_late\":2,\
             \"blocks_lost\":0,\"blocks_repaired\":3,\"changes_of_parent\":0,\
             \"past\":{\"peer\":0,\"emergency\":0,\"failed\":0,\"no_owner\":0,\"lost\":0,\"sent\":0},\
             \"files\":0,\"file_bytes\":0,\"sent\":{\"maps\":9,\"gossip\":2,\"heartbeats\":1,\"pings\":4}}\n"
        );
        assert_eq!(
            provider_json(Time::from_micros(7), &stats(), rates()),
            "{\"kind\":\"provider\",\"time_us\":7,\"input_bits_per_second\":520000,\
             \"up_bits_per_second\":500000,\"sub_streams_served\":20,\"sub_streams_offered\":24,\
             \"partners\":5,\"viewers\":8,\"packets\":100,\"past_sent\":0,\"files\":0,\
             \"file_bytes\":0}\n"
        );
    }

    #[test]
    fn what_is_not_known_yet_is_null() {
        let joining =
            viewer_json(Time::ZERO, None, Phase::Joining, &Stats::default(), Rates::default());
        for field in ["startup_ms", "playout_delay_ms", "continuity", "from_peers"] {
            assert!(joining.contains(&format!("\"{field}\":null")), "{field}: {joining}");
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines shown in 25 seconds of statistics.
    fn lines(mode: Mode, quiet: bool) -> usize {
        let sink = Sink::default();
        let ui = Ui { mode, quiet, screen: Screen::new(sink.clone(), false) };
        let mut progress = Progress::new(&ui, Time::ZERO);
        for second in 1..=25 {
            progress.viewer(Time::from_secs(second), None, Phase::Playing, &stats());
        }
        let shown = sink.0.lock().unwrap();
        shown.iter().filter(|&&b| b == b'\n').count()
    }

    #[test]
    fn a_pipe_gets_a_line_every_ten_seconds() {
        assert_eq!(lines(Mode::Plain, false), 3);
        assert_eq!(lines(Mode::Json, false), 25);
        assert_eq!(lines(Mode::Json, true), 0);
    }

    /// What is shown of a viewer's first second, and of its end.
    fn first_second(mode: Mode, quiet: bool) -> String {
        let sink = Sink::default();
        let ui = Ui { mode, quiet, screen: Screen::new(sink.clone(), false) };
        let mut progress = Progress::new(&ui, Time::from_secs(5));
        progress.viewer(Time::from_secs(6), None, Phase::Playing, &stats());
        progress.viewer_total(Some(Duration::from_millis(40)));
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_first_line_shows_the_rates_since_the_start() {
        let shown = first_second(Mode::Plain, false);
        assert!(shown.contains("down 2.00 Mbit/s  up 1.00 Mbit/s\n"), "{shown}");
    }

    #[test]
    fn the_last_line_is_the_total() {
        let last = |mode| first_second(mode, false).lines().last().map(str::to_owned);
        let text =
            "played 40.0 s: 1000 blocks due, 2 late, 0 lost; continuity 99.80 %; from peers 70 %";
        assert_eq!(last(Mode::Plain).as_deref(), Some(text));
        assert_eq!(
            last(Mode::Json).as_deref(),
            Some(
                "{\"kind\":\"summary\",\"played_ms\":40000,\"blocks_due\":1000,\"blocks_late\":2,\
                 \"blocks_lost\":0,\"continuity\":0.998,\"from_peers\":0.7}"
            )
        );
        assert_eq!(first_second(Mode::Plain, true), "");
    }
}
