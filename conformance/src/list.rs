//! The one list of scenarios.

use crate::run::{Kind, Scenario};
use crate::{driver, protocol};

/// Makes [`SCENARIOS`] and [`suite!`](crate::suite) of one list, so that a new
/// scenario reaches every driver. `$d` is a dollar sign.
macro_rules! list {
    ($d:tt $($kind:ident: $($module:ident::$part:ident::$name:ident),*;)*) => {
        /// All scenarios.
        pub const SCENARIOS: &[Scenario] = &[$($(Scenario {
            name: stringify!($name),
            play: $module::$part::$name,
            kind: Kind::$kind,
        }),*),*];

        /// Makes every scenario a test of the driver `$drive`, a
        /// [`Drive`](crate::Drive), in a module `$name`: `suite!(mio, Mio);`
        #[macro_export]
        macro_rules! suite {
            ($d name:ident, $d drive:ty) => {
                mod $d name {
                    use super::*;
                    $($(#[test]
                    fn $name() {
                        $crate::expect::<$d drive>(stringify!($name));
                    })*)*
                }
            };
        }
    };
}

list! { $
    Machines:
        driver::time::wakes_come_on_time,
        driver::time::a_late_wake_is_told_the_time,
        driver::time::an_input_after_an_idle_time_is_told_the_time,
        driver::time::an_idle_machine_is_left_alone,
        driver::time::wakes_keep_their_time_beside_traffic,
        driver::time::a_machine_in_a_hurry_still_hears,
        driver::time::all_is_done_before_the_driver_sleeps,

        driver::bytes::sends_keep_their_order,
        driver::bytes::megabytes_go_both_ways_within_credit,
        driver::bytes::credit_alone_keeps_a_sender_going,
        driver::bytes::a_pause_holds_from_the_next_event_on,
        driver::bytes::a_paused_link_holds_its_sender_back,
        driver::bytes::memory_that_is_lent_is_filled_in_order,
        driver::bytes::a_peer_that_does_not_read_delays_nobody,

        driver::links::every_dial_is_answered_once,
        driver::links::hundreds_of_links_at_once,
        driver::links::links_come_and_go_under_fresh_names,
        driver::links::a_flushing_close_delivers_everything,
        driver::links::a_close_without_a_flush_is_answered,
        driver::links::closes_that_cross_are_answered_once,

        driver::doors::datagrams_arrive_whole,
        driver::doors::datagrams_keep_their_senders,
        driver::doors::a_burst_of_datagrams_is_read_to_its_end,
        driver::doors::commands_arrive_in_order,
        driver::doors::the_host_hears_everything_in_order,
        driver::doors::the_disk_is_asked_and_answers_in_order;
    Sockets:
        driver::links::a_dial_that_nobody_answers_delays_nobody,
        driver::links::the_end_of_a_peer_is_told_after_its_last_words,
        driver::links::the_reset_of_a_peer_is_told,
        driver::links::an_end_in_a_pause_is_told_after_it,
        driver::links::a_flushing_close_to_a_peer_that_does_not_read_ends,
        driver::links::last_words_reach_a_peer_that_goes_on_talking,

        driver::doors::a_stop_closes_everything;
    Nodes:
        protocol::live::viewers_join_and_play,
        protocol::live::sub_streams_come_from_several_parents,
        protocol::live::a_parent_that_goes_costs_its_children_nothing,
        protocol::live::a_slow_child_slows_nobody,
        protocol::live::a_flood_of_connections_drowns_nobody,
        protocol::live::the_bootstrap_server_comes_late,
        protocol::live::a_viewer_leaves_in_good_order,

        protocol::past::what_went_by_is_played_from_other_viewers,
        protocol::past::the_past_plays_on_without_the_provider,
        protocol::past::a_pause_costs_no_block,

        protocol::dht::dht_nodes_find_what_was_announced;
}
